"""The public interface of the compiled batch layout."""

from qpidha.wire._batch import Batch, Landing

__all__ = ["Batch", "Landing"]

_SIZES_AT = 8
_SIZE_BYTES = 4


def sizes_of(batch: Batch) -> bytes:
    """The sizes of the data of all messages, as they are in the batch: four bytes each, little-endian. A copy."""
    return bytes(batch.chunk[_SIZES_AT : _SIZES_AT + _SIZE_BYTES * len(batch)])
