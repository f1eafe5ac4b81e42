"""The public door to the compiled batch layout."""

from qpidha.wire._batch import Batch, Landing

__all__ = ["Batch", "Landing"]
