"""Two minutes of `make fuzz`."""

from __future__ import annotations

import pytest

from fuzz.campaign import campaign, table


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_damaged_file_ends_in_anything_but_a_line_or_what_it_says():
    done = campaign(seed=0, seconds=120)
    assert done.trials > 50 and not done.bad, "\n\n".join([table(done), *done.bad])
