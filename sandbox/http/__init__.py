"""Provide the small HTTP server that the vendor emulators are built on."""

from sandbox.http.bill import Bill, BillEntry
from sandbox.http.calls import Call, CallLog
from sandbox.http.emulator import Emulator
from sandbox.http.faults import FaultPlan, Faults, PlannedFault
from sandbox.http.messages import Request, Response, json_response, text_response

__all__ = [
    "Bill",
    "BillEntry",
    "Call",
    "CallLog",
    "Emulator",
    "FaultPlan",
    "Faults",
    "PlannedFault",
    "Request",
    "Response",
    "json_response",
    "text_response",
]
