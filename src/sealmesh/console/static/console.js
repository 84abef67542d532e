"use strict";
// Text of other nodes is only ever set as text, never as markup, and what turns or hides text is shown as a mark.
const shown = (value) =>
  (value === null || value === undefined ? "–" : String(value)).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\uFFFD");

const element = (name, text) => {
  const made = document.createElement(name);
  made.textContent = shown(text);
  return made;
};

const fill = (id, rows) => {
  const body = document.querySelector(`#${id} tbody`);
  body.replaceChildren(
    ...rows.map((cells) => {
      const row = document.createElement("tr");
      row.append(...cells.map((cell) => element("td", cell)));
      return row;
    }),
  );
};

const show = (status) => {
  const facts = [
    ["version", status.version],
    ["endpoint id", status.endpoint_id],
    ["mesh", `${status.mesh.name} (${status.mesh.id})`],
    ["roles", status.roles.join(", ")],
    ...(status.attester ? [["proven by", status.attester]] : []),
    ["own keys", status.keys_at_rest === "tpm" ? "sealed to this machine's TPM" : "in files of the home"],
    ["policy minimum", status.policy_minimum],
    ["exchanges", `${status.exchanges.open} open, ${status.exchanges.done} done`],
    ["failed", Object.entries(status.exchanges.failed_by_reason).map(([why, count]) => `${why} ${count}`).join(", ") || "none"],
  ];
  document.getElementById("node").replaceChildren(
    ...facts.flatMap(([name, value]) => [element("dt", name), element("dd", value)]),
  );
  fill("models", status.models.map((model) => [
    model.name, model.usable ? (model.plain ? "UNSEALED" : "yes") : "no", model.hosts, model.best_tier, model.context_length || "unknown",
  ]));
  fill("peers", status.peers.map((peer) => [
    peer.endpoint_id.slice(0, 10), peer.name, peer.role, peer.tier, peer.code_measured ? "yes" : "no",
    peer.operator_blind, peer.plain ? "NO (plain)" : peer.sealed_suites.join(", ") || "-", peer.path,
    peer.evidence_age_s === null ? null : `${Math.round(peer.evidence_age_s)} s`, peer.refused.join("; "),
  ]));
};

const state = document.getElementById("state");
const events = new EventSource("/api/events");
events.onmessage = (event) => {
  show(JSON.parse(event.data));
  state.textContent = "Following this node.";
};
events.onerror = () => {
  state.textContent = "The node does not answer; trying again.";
};
