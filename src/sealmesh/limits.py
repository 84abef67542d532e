"""Every bound on what others may send or hold, with its reason (DESIGN.md section 10, PROTOCOL.md)."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# --- HTTP, from apps on this machine ---
HTTP_BODY_MAX: Final = 64 * MIB  # images and long contexts fit; more is a mistake or an attack
HTTP_HEAD_MAX: Final = 64 * KIB  # uvicorn alone takes 10 MB
HTTP_HEADERS_MAX: Final = 100  # uvicorn alone takes 10,000
HTTP_HEAD_TIMEOUT_S: Final = 5.0  # a slow head holds a socket for nothing
HTTP_BODY_IDLE_S: Final = 10.0  # a body that makes no progress for so long is cut with 408
HTTP_CONNECTIONS_MAX: Final = 2048  # sockets held for apps at once
JSON_DEPTH_MAX: Final = 128  # deeper nesting is refused before any parser recurses
JSON_MEMBERS_MAX: Final = 1024  # of a request's or a Response's top level; OpenAI's have 40: each costs 170 bytes
JSON_VALUES_MAX: Final = 1 << 18  # in what is decoded whole: a parser stops all threads, here for 0.1 s
HTTP_KEEPALIVE_S: Final = 75.0  # an idle connection; longer than the pools of common clients keep one
HTTP_AHEAD_MAX: Final = 64 * KIB  # bytes of pipelined requests kept while one is answered; then reading pauses
HTTP_CHUNK_LINE_MAX: Final = 256  # a chunk's size line with extensions, which nobody uses
HTTP_LINGER_S: Final = 2.0  # after a refusal the rest is read and dropped so long, else a reset eats the answer
HTTP_WRITE_STALL_S: Final = 120.0  # an app that takes nothing for so long is cut, and its host freed
HTTP_BODIES_TOTAL_MAX: Final = 512 * MIB  # request bodies held at once, over all connections
HELD_ANSWER_MAX: Final = 64 * MIB  # a plain answer is held until its end: the largest embedding batch fits
HELD_TOTAL_MAX: Final = 256 * MIB  # held answers at once, over all connections
SSE_EVENT_MAX: Final = 4 * MIB  # an unfinished server-sent event is held back up to this; `response.completed` is long
RESPONSES_KEPT_MAX: Final = 1024  # answers that apps may go on from by `previous_response_id`
RESPONSES_KEPT_BYTES: Final = 64 * MIB  # of all of them, each with its whole conversation
RESPONSE_KEPT_MAX: Final = 8 * MIB  # of one: a longer conversation, or one with many images, is sent by the app itself
RESPONSES_KEPT_S: Final = 3600.0  # since its last use: somebody's words do not lie in memory for longer
CONSOLE_CONNECTIONS_MAX: Final = 64  # a few browser tabs and a watcher
CONSOLE_BODY_MAX: Final = 4 * KIB  # what changes something says little
EVENTS_KEEPALIVE_S: Final = 15.0  # `/api/events` says something at least this often

# --- streams between nodes ---
STREAMS_PER_MEMBER_MAX: Final = 1024  # PROTOCOL.md, Streams
STREAM_OPEN_TIMEOUT_S: Final = 5.0  # open_bi blocks silently when none is free
STREAM_KIND_TIMEOUT_S: Final = 10.0  # the first frame of a stream arrives within this
CONNECT_TIMEOUT_S: Final = 10.0
READ_CHUNK: Final = 64 * KIB  # what one read from a stream takes at most
WRITE_CHUNK: Final = 256 * KIB  # what one native write takes: iroh's binding copies each piece twice
HANDSHAKES_MAX: Final = 64  # inbound connections under way at once; strangers can start them
ADMISSION_MAX: Final = 1 * KIB  # grant, membership and both signatures
ADMISSION_TIMEOUT_S: Final = 5.0
ADMISSION_BYTES_MAX: Final = 64 * KIB  # on one connection before it is admitted: handshake, credentials, little else
ADMISSION_WATCH_S: Final = 0.05  # how often that is looked at: QUIC alone would take 125 MB from each stranger
REFUSAL_LINGER_S: Final = 1.0  # so long a refused peer may take to read why, before the connection closes
SIMULTANEOUS_S: Final = 15.0  # CONNECT_TIMEOUT_S + ADMISSION_TIMEOUT_S: links of both sides' dialling are this close
RECONNECT_MIN_S: Final = 0.5
RECONNECT_MAX_S: Final = 30.0
SHUN_S: Final = 60.0  # how long a member that sent what no honest node sends is kept off; twice as long each time
SHUN_MAX_S: Final = 3600.0  # the longest: whose clock or disk was to blame comes back by itself
SHUN_FORGOTTEN_S: Final = 3600.0  # who did nothing for so long after it begins with a minute again
SHUNNED_MAX: Final = 1024  # members remembered so; whoever holds a ticket makes endpoint ids at will
SHUN_REASON_MAX: Final = 200  # characters of why that are shown
GOSSIP_QUEUE_MAX: Final = 256  # messages to one peer that wait to go out; more means that it does not read
GOSSIP_STALL_S: Final = 60  # a peer that takes no message of them in so long; the largest takes 60 s at 140 kbit/s
RECHECK_INTERVAL_S: Final = 10.0  # grants end: every link is checked again so often
TICKET_MAX: Final = 4 * KIB  # characters; eight addresses, a relay URL and a long mesh name need about 2,100
REVOCATIONS_MAX: Final = 512 * KIB  # about 15,000 endpoint ids; fits one records message
ISSUERS_MAX: Final = 8  # successors of one mesh's first issuer; each is a signature to keep

# --- the sealed exchange ---
FRAME_MAX: Final = 64 * KIB  # ciphertext of one frame
ENCAPSULATION_MAX: Final = 2 * KIB  # the larger suite needs 1,168 bytes
HEAD_CONTENT_MAX: Final = 16 * KIB  # method, path, a few headers
TRAILER_CONTENT_MAX: Final = 4 * KIB
ERROR_CONTENT_MAX: Final = 4 * KIB
SEALED_HEADERS_MAX: Final = 32
REPLAY_TAGS_MAX: Final = 1 << 20  # per key; full means busy, nothing is evicted
OPENINGS_PER_PEER_S: Final = 600  # an opening costs about 0.2 ms: one member spends an eighth of a core, no more
OPENINGS_PER_PEER_BURST: Final = 1200  # a client with many apps starts many requests at once
FIRST_FRAME_TIMEOUT_S: Final = 10.0
PING_INTERVAL_S: Final = 1.0  # some frame at least each second
CLIENT_SILENCE_S: Final = 5.0  # a host silent for so long is lost; QUIC alone takes 35 s
HOST_SILENCE_S: Final = 10.0
HOST_REQUEST_TIMEOUT_S: Final = 600.0  # a whole request; the largest body takes 9 minutes at 1 Mbit/s
HOST_REQUEST_IDLE_S: Final = 120.0  # without any of its body, pings or not: who only pings holds a place for nothing
HOST_ASKER_STALL_S: Final = 150.0  # an asker that takes nothing so long is cut; its API cuts a slow app after 120 s
HOST_QUEUE_PER_SLOT: Final = 8  # requests that wait for each of the engine's slots; beyond, askers go elsewhere
HOST_QUEUE_WAIT_S: Final = 120.0  # for a turn at the engine; longer, and another host may answer sooner
HOST_EXCHANGES_MAX: Final = 512  # at once, also where an engine names no slots
HOST_BODIES_TOTAL_MAX: Final = 512 * MIB  # request bodies being received at once; eight of the largest
RESPONSE_HEAD_TIMEOUT_S: Final = 600.0  # pings extend nothing
RESPONSE_BODY_TIMEOUT_S: Final = 120.0
EPOCH_S: Final = 300
EPOCH_GRACE_S: Final = 60  # what was sealed just before rotation still opens
EPOCH_ANNOUNCE_S: Final = 180  # the next key is known this long ahead
SESSIONS_MAX: Final = 4096  # conversations whose host a client remembers; more apps than one machine runs
REFRESH_INTERVAL_S: Final = 10.0  # one forced refresh of a host's keys in this time
CACHE_KEY_MAX: Final = 32
PADDING_MAX: Final = 16 * KIB  # a multiple to pad answers to; more costs more than it hides
SEALED_HEADER_VALUE_MAX: Final = 1 * KIB  # of one header inside the seal
ERROR_CODE_MAX: Final = 64  # characters of an error's stable code
ERROR_MESSAGE_MAX: Final = 1 * KIB  # bytes of an error's words
RETRY_AFTER_MAX: Final = 24 * 3600  # seconds; a host cannot send a client away for longer
TOKENS_MAX: Final = 1 << 40  # of one exchange; a larger count is a lie

# --- records ---
SUMMARY_MAX: Final = 1 * KIB
KEYS_PART_MAX: Final = 96 * KIB
EVIDENCE_MAX: Final = 64 * KIB
GOSSIP_MESSAGE_MAX: Final = 1 * MIB
KNOWN_PEERS_MAX: Final = 64  # whom a node remembers to call after a restart: one that answers is enough
KNOWN_PER_TICKET_MAX: Final = 16  # of these, holders of one ticket: who makes endpoint ids at will leaves others room
PEERS_MAX: Final = 10_000
ADDRESSES_MAX: Final = 8
MODELS_PER_RECORD_MAX: Final = 16
NAME_MAX: Final = 128  # bytes of a model's or node's name
SUMMARY_LIFETIME_S: Final = 3600
CLIENT_SUMMARY_LIFETIME_S: Final = 24 * 3600
KEYS_LIFETIME_S: Final = 900
CLOCK_SKEW_S: Final = 60  # a record issued further ahead is ignored
SEQUENCE_MEMORY_S: Final = 120  # beyond its lifetime
GOSSIP_FANOUT: Final = 5
GOSSIP_INTERVAL_S: Final = 10.0
GOSSIP_RECORDS_PER_MESSAGE: Final = 64  # each costs three signature checks: about 20 ms of one core a message
GOSSIP_SENT_BURST: Final = 32 * MIB  # answers to one peer: twice a full table, so that a peer may join again at once
GOSSIP_SENT_PER_S: Final = 128 * KIB  # and then this much a second; rounds of equal tables need 20 bytes a second
GOSSIP_RECEIVED_BURST: Final = 2 * GOSSIP_SENT_BURST  # what an honest peer sends may arrive bunched by the network
GOSSIP_RECEIVED_PER_S: Final = 2 * GOSSIP_SENT_PER_S
GOSSIP_PUSH_FANOUT: Final = 16  # peers that a change is passed on to at once: reaches 10,000 nodes, small stars whole
GOSSIP_PUSH_INTERVAL_S: Final = 1.0  # an owner's changes are passed on at once this often; rounds bring the rest
SIGNATURES_REMEMBERED_MAX: Final = 32_768  # three for each record of a full table; about 4 MB
NEIGHBOURS: Final = 8  # links that a node sees to; some that others made come on top
NEIGHBOURS_MAX: Final = 2 * NEIGHBOURS  # those that are away are tried still, so that a mesh that was split heals
GOSSIP_PARTED_MAX: Final = 1024  # peers whose allowances outlive their connection
NOTICES_INTERVAL_S: Final = 60.0  # the same list of revocations goes to the same peer once in this time
CAPABILITIES_MAX: Final = 16
CAPABILITY_MAX: Final = 32  # characters of one
VERSION_TEXT_MAX: Final = 32  # characters of a node's version
POSTURE_ENTRIES_MAX: Final = 64
POSTURE_KEY_MAX: Final = 64
POSTURE_VALUE_MAX: Final = 512  # bytes; a state and its reason in words
EPOCHS_PER_KEYS_PART_MAX: Final = 3  # previous, current, next
CLOCK_PARTING_S: Final = 5.0  # wall clock and sleep-counting clock may differ by this

# --- statements and challenges ---
HOST_STATEMENT_LIFETIME_S: Final = 3600
HOST_STATEMENT_RENEW_S: Final = 300
CHALLENGE_BATCH_MAX: Final = 1024
CHALLENGE_INTERVAL_S: Final = 1.0  # at most one hardware operation a second
ACTIVATION_INTERVAL_S: Final = 3600.0  # one activation of a peer in this time; a verifier remembers it for a day
ACTIVATIONS_WAITING_MAX: Final = 4  # each a second; with the quotes between them none waits past CHALLENGE_TIMEOUT_S
VERDICT_LIFETIME_S: Final = 600.0
#: After it a verdict is extended no more: who owns a chip can set its clock forward and make tomorrow's quotes today.
EXTENSION_S: Final = 3600.0 - VERDICT_LIFETIME_S
CHALLENGE_TRIES: Final = 3
CHALLENGE_TIMEOUT_S: Final = 10.0
CHALLENGE_MESSAGE_MAX: Final = 192 * KIB  # statement, envelope, path and keys part
HOST_STATEMENT_MAX: Final = 8 * KIB  # 32 controls, 16 accelerators and 16 model digests fit
EPOCH_STATEMENT_MAX: Final = 4 * KIB  # both suites need about 1.4 KiB; room for a third
EPOCH_SUITES_MAX: Final = 8  # keys in one epoch statement
SUITE_PUBLIC_MAX: Final = 2 * KIB  # the hybrid's public key has 1,216 bytes
POSTURE_CONTROLS_MAX: Final = 32
ACCELERATORS_MAX: Final = 16
STATEMENT_TEXT_MAX: Final = 128  # bytes of one text in a statement
ENVELOPE_RECORDS_MAX: Final = 64  # a chain, collateral and a few reports
MERKLE_PATH_MAX: Final = 10  # the depth of a tree over CHALLENGE_BATCH_MAX leaves
EVIDENCE_FILE_MAX: Final = 4 * MIB  # raw evidence with an event log, or collateral; saved proofs are far smaller

# --- this machine's own chips ---
TPM_MESSAGE_MAX: Final = 4 * KIB  # of a command or response; TPM 2.0 chips take and give no longer ones
TPM_COMMAND_TIMEOUT_S: Final = 10.0  # chips need 0.3 s at most, but other programs' commands go first
TPM_KEY_TIMEOUT_S: Final = 90.0  # making an RSA key takes slow chips half a minute
TPM_NV_MAX: Final = 8 * KIB  # an NV index; certificates of endorsement keys have 1 to 2 KiB
TPM_SEALED_MAX: Final = 128  # bytes in one sealed object [TPM 2.0 Library, Part 2, MAX_SYM_DATA]
BOOT_LOG_MAX: Final = 40 * KIB  # in an envelope of EVIDENCE_MAX beside a quote and its certificates; longer stay home
REPORT_FILE_MAX: Final = 64 * KIB  # what the kernel gives for one report, or its certificates
GPU_REPORT_MAX: Final = 16 * KIB  # a report, or its certificates in PEM; Hopper's have 4 and 5 KiB
GPUS_MAX: Final = 8  # in one machine; their reports must fit one envelope
ENDORSEMENT_FILE_MAX: Final = 48 * KIB  # a file that the operator staples: certificates, Intel's collateral
# --- lists of blessed builds ---
BLESSED_LIST_MAX: Final = 64 * KIB  # three signatures and 256 builds need about 55 KiB
BLESSED_BUILDS_MAX: Final = 256  # a few releases for a few platforms
BLESSED_DIGESTS_MAX: Final = 32  # code directory hashes, or launch digests, of one build
BLESSED_KEYS_MAX: Final = 16  # holders of keys; each costs a signature check
BLESSED_RECEIVED_BURST: Final = 16  # lists that are verified for one peer at once; an honest one sends news only
BLESSED_RECEIVED_PER_S: Final = 1  # and then this many a second: at most 5 ms of one core each
BLESSED_LIFETIME_S: Final = 30 * 24 * 3600  # a list that nobody renews stops counting
BLESSED_VERSION_MAX: Final = 1 << 53  # as sequences of records

# --- backends ---
BACKEND_HEAD_MAX: Final = 64 * KIB
BACKEND_ERROR_BODY_MAX: Final = 256 * KIB  # an engine's error object; more is cut off and replaced
BACKEND_CONNECT_TIMEOUT_S: Final = 10.0
BACKEND_TAIL: Final = 4 * KIB  # of an answer that is kept to find its token counts
BACKEND_IDLE_CONNECTIONS_MAX: Final = 32  # kept open to one engine between requests
BACKEND_IDLE_S: Final = 4.0  # common servers close a kept connection after 5 s
BACKEND_CHUNK: Final = 32 * KIB  # coalesced bytes handed on at once: with its kind and tag it fits one frame
SHUTDOWN_GRACE_S: Final = 10.0
