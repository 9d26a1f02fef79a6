"""The numbered stages that a long command prints."""

import re


def stages_in(printed: str, within: str = "") -> list[str]:
    """What each stage is of, in order; fails where the numbers are not 1, 2, ... up to the number of all.

    Args:
        printed: standard error.
        within: what stands before the numbers.
    """
    lines = re.findall(rf"^{re.escape(within)}(\d+) of (\d+): (.+)$", printed, re.M)
    stages = {int(number): re.sub(r": \d+ (of \d+ .*|.* so far)$", "", what) for number, _, what in lines}
    assert {int(total) for _, total, _ in lines} == {len(stages)}, printed
    assert list(stages) == list(range(1, len(stages) + 1)), printed
    return list(stages.values())
