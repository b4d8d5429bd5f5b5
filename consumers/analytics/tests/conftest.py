from __future__ import annotations

import pytest
from analytics_consumer.analyses import ANALYSES, Analysis


@pytest.fixture(params=ANALYSES, ids=lambda analysis: analysis.name)
def analysis(request: pytest.FixtureRequest) -> Analysis:
    """Each analysis in turn."""
    chosen: Analysis = request.param
    return chosen
