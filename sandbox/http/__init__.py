"""Provide what every vendor's emulator is built on: an aiohttp server with faults, log and bill."""

from sandbox.http.emulator import SUBJECT, Emulator, hang_up, json_response
from sandbox.http.faults import FaultPlan, Faults, Kind, RateLimit
from sandbox.http.records import Bill, BillEntry, Call, CallLog, JsonLines

__all__ = [
    "SUBJECT",
    "Bill",
    "BillEntry",
    "Call",
    "CallLog",
    "Emulator",
    "FaultPlan",
    "Faults",
    "JsonLines",
    "Kind",
    "RateLimit",
    "hang_up",
    "json_response",
]
