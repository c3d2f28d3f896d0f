"""The flags of several processes."""

import pytest

from segjax import parallel
from segjax.errors import InputError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("nonsense", 2, 0), "--coordinator is host:port, such as host0:1234, not 'nonsense'"),
        (("nonsense", None, None), "--coordinator is host:port, such as host0:1234"),
        (("host0:0", 2, 0), "not 'host0:0'"),
        (("host0:65536", 2, 0), "not 'host0:65536'"),
        (("http://host0:80", 2, 0), "not 'http://host0:80'"),
        (("host0:65535", None, None), "--num_processes and --process_id go together"),
        ((None, 1, 0), "go together"),
        (("host0:1", 1, 5), "--process_id must be from 0 to below --num_processes=1, not 5"),
        (("host0:1", 2, -1), "not -1"),
    ],
)
def test_flags_that_no_run_can_have(given, words):
    with pytest.raises(InputError, match=words):
        parallel.initialize(*given)
