from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Model(_message.Message):
    __slots__ = ("name", "context_length", "digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    context_length: int
    digest: bytes
    def __init__(self, name: _Optional[str] = ..., context_length: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class Summary(_message.Message):
    __slots__ = ("version", "endpoint_id", "sequence", "issued", "expires", "addresses", "roles", "node_version", "name", "models", "capabilities", "keys_sequence", "leaving", "relay_url", "credentials_digest")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ISSUED_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    NODE_VERSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    KEYS_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    RELAY_URL_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    version: int
    endpoint_id: bytes
    sequence: int
    issued: int
    expires: int
    addresses: _containers.RepeatedScalarFieldContainer[str]
    roles: int
    node_version: str
    name: str
    models: _containers.RepeatedCompositeFieldContainer[Model]
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    keys_sequence: int
    leaving: bool
    relay_url: str
    credentials_digest: bytes
    def __init__(self, version: _Optional[int] = ..., endpoint_id: _Optional[bytes] = ..., sequence: _Optional[int] = ..., issued: _Optional[int] = ..., expires: _Optional[int] = ..., addresses: _Optional[_Iterable[str]] = ..., roles: _Optional[int] = ..., node_version: _Optional[str] = ..., name: _Optional[str] = ..., models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., capabilities: _Optional[_Iterable[str]] = ..., keys_sequence: _Optional[int] = ..., leaving: _Optional[bool] = ..., relay_url: _Optional[str] = ..., credentials_digest: _Optional[bytes] = ...) -> None: ...

class KeysPart(_message.Message):
    __slots__ = ("version", "endpoint_id", "sequence", "issued", "expires", "inference_public_key", "security_posture", "hardware_attestation_blob", "epoch_statements", "host_statement")
    class SecurityPostureEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ISSUED_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    SECURITY_POSTURE_FIELD_NUMBER: _ClassVar[int]
    HARDWARE_ATTESTATION_BLOB_FIELD_NUMBER: _ClassVar[int]
    EPOCH_STATEMENTS_FIELD_NUMBER: _ClassVar[int]
    HOST_STATEMENT_FIELD_NUMBER: _ClassVar[int]
    version: int
    endpoint_id: bytes
    sequence: int
    issued: int
    expires: int
    inference_public_key: bytes
    security_posture: _containers.ScalarMap[str, str]
    hardware_attestation_blob: bytes
    epoch_statements: _containers.RepeatedScalarFieldContainer[bytes]
    host_statement: bytes
    def __init__(self, version: _Optional[int] = ..., endpoint_id: _Optional[bytes] = ..., sequence: _Optional[int] = ..., issued: _Optional[int] = ..., expires: _Optional[int] = ..., inference_public_key: _Optional[bytes] = ..., security_posture: _Optional[_Mapping[str, str]] = ..., hardware_attestation_blob: _Optional[bytes] = ..., epoch_statements: _Optional[_Iterable[bytes]] = ..., host_statement: _Optional[bytes] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("summary", "credentials")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    summary: bytes
    credentials: bytes
    def __init__(self, summary: _Optional[bytes] = ..., credentials: _Optional[bytes] = ...) -> None: ...

class Root(_message.Message):
    __slots__ = ("digest", "notices_digest", "blessed")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NOTICES_DIGEST_FIELD_NUMBER: _ClassVar[int]
    BLESSED_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    notices_digest: bytes
    blessed: bytes
    def __init__(self, digest: _Optional[bytes] = ..., notices_digest: _Optional[bytes] = ..., blessed: _Optional[bytes] = ...) -> None: ...

class Buckets(_message.Message):
    __slots__ = ("digests", "notices_digest")
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_DIGEST_FIELD_NUMBER: _ClassVar[int]
    digests: bytes
    notices_digest: bytes
    def __init__(self, digests: _Optional[bytes] = ..., notices_digest: _Optional[bytes] = ...) -> None: ...

class Listing(_message.Message):
    __slots__ = ("buckets", "items")
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    buckets: bytes
    items: bytes
    def __init__(self, buckets: _Optional[bytes] = ..., items: _Optional[bytes] = ...) -> None: ...

class Want(_message.Message):
    __slots__ = ("endpoint_ids",)
    ENDPOINT_IDS_FIELD_NUMBER: _ClassVar[int]
    endpoint_ids: bytes
    def __init__(self, endpoint_ids: _Optional[bytes] = ...) -> None: ...

class Records(_message.Message):
    __slots__ = ("records", "push")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    PUSH_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[Record]
    push: bool
    def __init__(self, records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., push: _Optional[bool] = ...) -> None: ...

class Notices(_message.Message):
    __slots__ = ("revocations", "successors", "blessed")
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    SUCCESSORS_FIELD_NUMBER: _ClassVar[int]
    BLESSED_FIELD_NUMBER: _ClassVar[int]
    revocations: bytes
    successors: _containers.RepeatedScalarFieldContainer[bytes]
    blessed: bytes
    def __init__(self, revocations: _Optional[bytes] = ..., successors: _Optional[_Iterable[bytes]] = ..., blessed: _Optional[bytes] = ...) -> None: ...

class Gossip(_message.Message):
    __slots__ = ("root", "buckets", "listing", "want", "records", "notices")
    ROOT_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    LISTING_FIELD_NUMBER: _ClassVar[int]
    WANT_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    root: Root
    buckets: Buckets
    listing: Listing
    want: Want
    records: Records
    notices: Notices
    def __init__(self, root: _Optional[_Union[Root, _Mapping]] = ..., buckets: _Optional[_Union[Buckets, _Mapping]] = ..., listing: _Optional[_Union[Listing, _Mapping]] = ..., want: _Optional[_Union[Want, _Mapping]] = ..., records: _Optional[_Union[Records, _Mapping]] = ..., notices: _Optional[_Union[Notices, _Mapping]] = ...) -> None: ...
