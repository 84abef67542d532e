from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class TpmEvidence(_message.Message):
    __slots__ = ("ak_public", "attest", "signature", "pcr_values", "event_log")
    AK_PUBLIC_FIELD_NUMBER: _ClassVar[int]
    ATTEST_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    PCR_VALUES_FIELD_NUMBER: _ClassVar[int]
    EVENT_LOG_FIELD_NUMBER: _ClassVar[int]
    ak_public: bytes
    attest: bytes
    signature: bytes
    pcr_values: bytes
    event_log: bytes
    def __init__(self, ak_public: _Optional[bytes] = ..., attest: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., pcr_values: _Optional[bytes] = ..., event_log: _Optional[bytes] = ...) -> None: ...
