"""Promoters: they decide when a node tries to become primary. The record decides whether it does."""

from qpidha.promoters.operator import OperatorPromoter
from qpidha.promoters.priority import PriorityPromoter

__all__ = ["OperatorPromoter", "PriorityPromoter"]
