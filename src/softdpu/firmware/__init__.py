"""The firmware settings of a DPU, as mlxconfig shows and sets them: one table, one store, one set of rules."""

from softdpu.firmware.parameters import PARAMETERS, FirmwareError, Parameter
from softdpu.firmware.store import Firmware

__all__ = ["PARAMETERS", "Firmware", "FirmwareError", "Parameter"]
