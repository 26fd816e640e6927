"""Requests in parts, for servers that compute them apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Union

from . import _fhec
from .plan import ClientPlan, Plan


def _client_plan(plan: Union[Plan, ClientPlan]) -> _fhec.ClientPlan:
    return plan.client_plan()._plan if isinstance(plan, Plan) else plan._plan


def split(plan: Union[Plan, ClientPlan], request: bytes, runs: int = 1) -> list[bytes]:
    """A request in parts of at most so many runs of the plan. Each is a request for :meth:`fhec.Server.eval`; :func:`join` puts their
    results together."""
    return _fhec.split(_client_plan(plan), request, runs)


def join(plan: Union[Plan, ClientPlan], results: Iterable[bytes]) -> bytes:
    """The results of all parts of a request, in their order, as those of the request. That none is left out is for the caller to
    see."""
    return _fhec.join(_client_plan(plan), list(results))
