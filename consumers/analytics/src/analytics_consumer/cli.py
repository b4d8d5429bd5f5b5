"""The command ``analytics-consumer``."""

from __future__ import annotations

import re
import sys
from typing import Any, Literal

import click
from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import InvalidRequestError
from stellar_arrow_client.options import (
    Choice,
    Command,
    LedgerNumber,
    RunOptions,
    client_options,
    option,
    run_cli,
    run_options,
    standard_options,
)
from stellar_arrow_client.request import StreamRequest

from .analyses import ANALYSES, Analysis
from .selection import AssetFilter, Selection, parse_units
from .sink import MICROSECONDS, AnalyticsSink, Output, server_clock

_BY_NAME = {analysis.name: analysis for analysis in ANALYSES}
_YEAR_MINUTES = 366 * 24 * 60
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
