from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SignedPart(_message.Message):
    __slots__ = ("part", "signature")
    PART_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    part: bytes
    signature: bytes
    def __init__(self, part: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Grant(_message.Message):
    __slots__ = ("version", "mesh_id", "serial", "roles", "not_before", "not_after", "bearer_key", "mesh_name")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MESH_ID_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    BEARER_KEY_FIELD_NUMBER: _ClassVar[int]
    MESH_NAME_FIELD_NUMBER: _ClassVar[int]
    version: int
    mesh_id: bytes
    serial: bytes
    roles: int
    not_before: int
    not_after: int
    bearer_key: bytes
    mesh_name: str
    def __init__(self, version: _Optional[int] = ..., mesh_id: _Optional[bytes] = ..., serial: _Optional[bytes] = ..., roles: _Optional[int] = ..., not_before: _Optional[int] = ..., not_after: _Optional[int] = ..., bearer_key: _Optional[bytes] = ..., mesh_name: _Optional[str] = ...) -> None: ...

class Membership(_message.Message):
    __slots__ = ("mesh_id", "serial", "endpoint_id", "roles")
    MESH_ID_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    mesh_id: bytes
    serial: bytes
    endpoint_id: bytes
    roles: int
    def __init__(self, mesh_id: _Optional[bytes] = ..., serial: _Optional[bytes] = ..., endpoint_id: _Optional[bytes] = ..., roles: _Optional[int] = ...) -> None: ...

class Credentials(_message.Message):
    __slots__ = ("grant", "membership")
    GRANT_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIP_FIELD_NUMBER: _ClassVar[int]
    grant: SignedPart
    membership: SignedPart
    def __init__(self, grant: _Optional[_Union[SignedPart, _Mapping]] = ..., membership: _Optional[_Union[SignedPart, _Mapping]] = ...) -> None: ...

class Ticket(_message.Message):
    __slots__ = ("issuer_key", "grant", "bearer_seed", "endpoint_id", "addresses", "relay_url")
    ISSUER_KEY_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    BEARER_SEED_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    RELAY_URL_FIELD_NUMBER: _ClassVar[int]
    issuer_key: bytes
    grant: SignedPart
    bearer_seed: bytes
    endpoint_id: bytes
    addresses: _containers.RepeatedScalarFieldContainer[str]
    relay_url: str
    def __init__(self, issuer_key: _Optional[bytes] = ..., grant: _Optional[_Union[SignedPart, _Mapping]] = ..., bearer_seed: _Optional[bytes] = ..., endpoint_id: _Optional[bytes] = ..., addresses: _Optional[_Iterable[str]] = ..., relay_url: _Optional[str] = ...) -> None: ...

class Revocations(_message.Message):
    __slots__ = ("version", "mesh_id", "sequence", "issued", "serials", "endpoint_ids")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MESH_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ISSUED_FIELD_NUMBER: _ClassVar[int]
    SERIALS_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_IDS_FIELD_NUMBER: _ClassVar[int]
    version: int
    mesh_id: bytes
    sequence: int
    issued: int
    serials: _containers.RepeatedScalarFieldContainer[bytes]
    endpoint_ids: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, version: _Optional[int] = ..., mesh_id: _Optional[bytes] = ..., sequence: _Optional[int] = ..., issued: _Optional[int] = ..., serials: _Optional[_Iterable[bytes]] = ..., endpoint_ids: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Successor(_message.Message):
    __slots__ = ("version", "mesh_id", "issuer_key", "not_before", "predecessor_until")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MESH_ID_FIELD_NUMBER: _ClassVar[int]
    ISSUER_KEY_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    PREDECESSOR_UNTIL_FIELD_NUMBER: _ClassVar[int]
    version: int
    mesh_id: bytes
    issuer_key: bytes
    not_before: int
    predecessor_until: int
    def __init__(self, version: _Optional[int] = ..., mesh_id: _Optional[bytes] = ..., issuer_key: _Optional[bytes] = ..., not_before: _Optional[int] = ..., predecessor_until: _Optional[int] = ...) -> None: ...

class SignedSuccessor(_message.Message):
    __slots__ = ("part", "predecessor_signature", "successor_signature")
    PART_FIELD_NUMBER: _ClassVar[int]
    PREDECESSOR_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SUCCESSOR_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    part: bytes
    predecessor_signature: bytes
    successor_signature: bytes
    def __init__(self, part: _Optional[bytes] = ..., predecessor_signature: _Optional[bytes] = ..., successor_signature: _Optional[bytes] = ...) -> None: ...
