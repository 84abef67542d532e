from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HostStatement(_message.Message):
    __slots__ = ("version", "endpoint_id", "statement_key", "measurement", "posture", "backend", "accelerators", "model_digests", "issued_ms", "expires_ms", "challenge_root", "platform")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_KEY_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENT_FIELD_NUMBER: _ClassVar[int]
    POSTURE_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    ACCELERATORS_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    ISSUED_MS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_MS_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_ROOT_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    version: int
    endpoint_id: bytes
    statement_key: bytes
    measurement: bytes
    posture: _containers.RepeatedCompositeFieldContainer[Control]
    backend: str
    accelerators: _containers.RepeatedScalarFieldContainer[str]
    model_digests: _containers.RepeatedScalarFieldContainer[bytes]
    issued_ms: int
    expires_ms: int
    challenge_root: bytes
    platform: str
    def __init__(self, version: _Optional[int] = ..., endpoint_id: _Optional[bytes] = ..., statement_key: _Optional[bytes] = ..., measurement: _Optional[bytes] = ..., posture: _Optional[_Iterable[_Union[Control, _Mapping]]] = ..., backend: _Optional[str] = ..., accelerators: _Optional[_Iterable[str]] = ..., model_digests: _Optional[_Iterable[bytes]] = ..., issued_ms: _Optional[int] = ..., expires_ms: _Optional[int] = ..., challenge_root: _Optional[bytes] = ..., platform: _Optional[str] = ...) -> None: ...

class Control(_message.Message):
    __slots__ = ("name", "state")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: str
    def __init__(self, name: _Optional[str] = ..., state: _Optional[str] = ...) -> None: ...

class EpochStatement(_message.Message):
    __slots__ = ("version", "endpoint_id", "epoch", "not_before_ms", "not_after_ms", "keys", "host_statement_digest")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_MS_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    HOST_STATEMENT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    version: int
    endpoint_id: bytes
    epoch: int
    not_before_ms: int
    not_after_ms: int
    keys: _containers.RepeatedCompositeFieldContainer[SuiteKey]
    host_statement_digest: bytes
    def __init__(self, version: _Optional[int] = ..., endpoint_id: _Optional[bytes] = ..., epoch: _Optional[int] = ..., not_before_ms: _Optional[int] = ..., not_after_ms: _Optional[int] = ..., keys: _Optional[_Iterable[_Union[SuiteKey, _Mapping]]] = ..., host_statement_digest: _Optional[bytes] = ...) -> None: ...

class SuiteKey(_message.Message):
    __slots__ = ("suite", "public_key")
    SUITE_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    suite: int
    public_key: bytes
    def __init__(self, suite: _Optional[int] = ..., public_key: _Optional[bytes] = ...) -> None: ...

class SoftwareEvidence(_message.Message):
    __slots__ = ("algorithm", "public_key", "signature")
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    algorithm: int
    public_key: bytes
    signature: bytes
    def __init__(self, algorithm: _Optional[int] = ..., public_key: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Request(_message.Message):
    __slots__ = ("get_keys", "challenge", "activate")
    GET_KEYS_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    ACTIVATE_FIELD_NUMBER: _ClassVar[int]
    get_keys: bytes
    challenge: bytes
    activate: Activate
    def __init__(self, get_keys: _Optional[bytes] = ..., challenge: _Optional[bytes] = ..., activate: _Optional[_Union[Activate, _Mapping]] = ...) -> None: ...

class Activate(_message.Message):
    __slots__ = ("id_object", "encrypted_secret")
    ID_OBJECT_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTED_SECRET_FIELD_NUMBER: _ClassVar[int]
    id_object: bytes
    encrypted_secret: bytes
    def __init__(self, id_object: _Optional[bytes] = ..., encrypted_secret: _Optional[bytes] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("keys", "proof", "refused", "activated")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    ACTIVATED_FIELD_NUMBER: _ClassVar[int]
    keys: bytes
    proof: Proof
    refused: int
    activated: bytes
    def __init__(self, keys: _Optional[bytes] = ..., proof: _Optional[_Union[Proof, _Mapping]] = ..., refused: _Optional[int] = ..., activated: _Optional[bytes] = ...) -> None: ...

class Proof(_message.Message):
    __slots__ = ("host_statement", "envelope", "path", "keys")
    HOST_STATEMENT_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    host_statement: bytes
    envelope: bytes
    path: bytes
    keys: bytes
    def __init__(self, host_statement: _Optional[bytes] = ..., envelope: _Optional[bytes] = ..., path: _Optional[bytes] = ..., keys: _Optional[bytes] = ...) -> None: ...
