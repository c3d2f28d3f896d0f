"""The example of the README runs, and learns."""

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_example_trains_a_network_on_arrays(capsys):
    [block] = re.findall(r"## From Python\n.*?```python\n(.*?)```", README, re.DOTALL)
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    loss, miou = capsys.readouterr().out.split()
    assert float(loss) < 0.5
    assert float(miou) > 0.6
