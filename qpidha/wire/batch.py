"""The public interface of the compiled batch layout."""

from qpidha.wire._batch import Batch, Landing

__all__ = ["Batch", "Landing"]
