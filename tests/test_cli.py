import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from miniature import SOURCE

from segjax import cli
from segjax.errors import InputError, choose

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
CONFIG = f"--config={SOURCE}"


@pytest.fixture(autouse=True)
def clean_flags(monkeypatch):
    """Parsing leaves its traces in the process: undo them."""
    monkeypatch.setattr(sys, "argv", ["segjax"])
    saved = flags.FLAGS["config"].value
    yield
    flags.FLAGS["config"].value = saved
    for name in [name for name in flags.FLAGS if name.startswith("config.")]:
        delattr(flags.FLAGS, name)  # ml_collections defines one for each value that is set


def parse(*args):
    return cli.parse_flags(["segjax", *args])


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return f"--config={path}"


@pytest.mark.parametrize(
    "order",
    [
        (CONFIG, "--config.train.steps=7"),
        ("--config.train.steps=7", CONFIG),
        ("--config", SOURCE, "--config.train.steps", "7"),
    ],
)
def test_values_are_set_wherever_the_file_stands(order):
    parse(*order, "--config.upsample=bilinear", "--config.size=16,48")
    assert cli.CONFIG.value.train.steps == 7
    assert cli.CONFIG.value.upsample == "bilinear"
    assert cli.CONFIG.value.size == (16, 48)
    assert cli.CONFIG.value.is_locked


def test_config_is_found_beside_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parse(CONFIG, "--config.train.steps=5")
    assert cli.config_source() == SOURCE
    (tmp_path / "tests").mkdir()
    (tmp_path / SOURCE).write_text((cli.ROOT / SOURCE).read_text())  # this one is nearer
    parse(CONFIG)
    assert cli.config_source() == str(tmp_path / SOURCE)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--config=configs/unte.py"], "'configs/unte.py'.*did you mean configs/unet.py"),
        (["--config="], "ones that ship.*configs/unet.py"),
        (["--config"], "[Mm]issing value"),
        (["--config.train.steps=3"], "needs --config=FILE"),
        ([CONFIG, "--config.train.stepz=3"], "'train.stepz'; did you mean train.steps?"),
        ([CONFIG, "--config.qqqqqqqqq=3"], "it has batch_size.*train.steps"),
        ([CONFIG, "--config.train.steps=abc"], "--config.train.steps=abc.*it is 4 in the file"),
        ([CONFIG, "--config.train.steps=1e3"], "--config.train.steps=1e3.*it is 4 in the file"),
        ([CONFIG, "--config.learning_rate=fast"], "fast.*it is 0.01 in the file"),
        ([CONFIG, "--config.train=4"], "--config.train=4"),
        ([CONFIG, "--config.size=a,b"], "config.size.*'a,b'.*32, 32"),
        ([CONFIG, "--config.size[0]=64"], "set as a whole"),
        ([CONFIG, "--compilation_cash=x"], "compilation_cash.*did you mean.*compilation_cache"),
        ([CONFIG, CONFIG], "given twice"),
        ([CONFIG + ":tiny"], "takes nothing after its name"),
    ],
)
def test_bad_arguments_get_one_sentence(args, words):
    with pytest.raises(InputError, match="(?i)" + words) as caught:
        parse(*args)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import os\ndef get_config(:\n    pass\n", "line 2: SyntaxError"),
        ("\n\nimport no_such_library\n", "line 3: ModuleNotFoundError.*no_such_library"),
        ("from segjax.nn.layers import Nope\n", "line 1: ImportError.*Nope"),
        ("x = undefined\n", "line 1: NameError"),
        (
            "def build(c, facts): ...\ndef get_config():\n    return optm.x\n",
            "line 3: NameError.*optm",
        ),
        ("def build(c, facts): ...\n", "lacks get_config()"),
        ("def get_config(): ...\n", "lacks build()"),
        ("def build(c, facts): ...\ndef get_config():\n    return {}\n", "return a ConfigDict"),
        ("def build(c, facts): ...\ndef get_config(which): ...\n", "FILE:ARGUMENT"),
    ],
)
def test_broken_config_files_name_file_and_line(tmp_path, text, words):
    with pytest.raises(InputError, match=words) as caught:
        parse(write(tmp_path / "broken.py", text))
    assert "broken.py" in str(caught.value)


CODE = "from ml_collections import ConfigDict\n"


@pytest.mark.parametrize(
    "error",
    [
        ("raise ValueError('a reason')", "ValueError: a reason"),
        ("{}['gone']", "KeyError: 'gone'"),
        ("1 + 'a'", "TypeError: unsupported operand"),
        ("raise RuntimeError('a reason')", "RuntimeError: a reason"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("int('x')", "ValueError: invalid literal"),
        ("config.gone", "AttributeError: .*gone"),  # raised by ml_collections
    ],
)
def test_errors_of_a_config_name_file_and_line(tmp_path, error):
    code, words = error
    path = tmp_path / "wrong.py"
    before = f"{CODE}config = ConfigDict()\ndef build(config, facts): ...\n"
    path.write_text(f"{before}def get_config():\n    {code}\n    return config\n")
    with pytest.raises(InputError, match=f"wrong.py fails in line 5: {words}"):
        parse(f"--config={path}")
    path.write_text(
        f"{CODE}def get_config(): return ConfigDict()\ndef build(config, facts):\n    {code}\n"
    )
    module, config = cli.load_config(str(path))
    with pytest.raises(InputError, match=f"wrong.py fails in line 4: {words}"):
        cli.build(module, config)


def test_errors_of_the_package_keep_their_traceback(tmp_path):
    path = tmp_path / "calls.py"
    path.write_text(
        f"{CODE}from segjax.ops import resize\n"
        "def get_config(): return ConfigDict()\n"
        "def build(config, facts): resize.nearest(None, (1, 1))\n"
    )
    module, config = cli.load_config(str(path))
    with pytest.raises(AssertionError):
        cli.build(module, config)


def test_argument_after_the_colon_reaches_get_config(tmp_path):
    path = tmp_path / "sized.py"
    path.write_text(
        "from ml_collections import ConfigDict\n"
        "def build(config, facts): ...\n"
        "def get_config(name):\n    return ConfigDict({'width': {'small': 8, 'large': 64}[name]})\n"
    )
    parse(f"--config={path}:large")
    assert cli.CONFIG.value.width == 64
    assert cli.load_config(f"{path}:small", {"width": 4})[1].width == 4


def test_choose_names_the_choices():
    assert choose({"a": 1, "b": 2}, "b", "config.letter") == 2
    with pytest.raises(InputError, match=r"config.letter is 'c'; the choices are a, b."):
        choose({"a": 1, "b": 2}, "c", "config.letter")


def sentence_of(error, capsys):
    with pytest.raises(SystemExit) as caught, cli.sentences():
        raise error
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_input_errors_and_full_disks_are_sentences_and_program_errors_are_not(capsys):
    assert sentence_of(InputError("Do this."), capsys) == "segjax: Do this.\n"
    full = OSError(errno.ENOSPC, "No space left on device", "/runs/x")
    assert sentence_of(full, capsys).startswith("segjax: /runs/x cannot be written or read: No")
    with pytest.raises(FileNotFoundError), cli.sentences():
        raise FileNotFoundError(errno.ENOENT, "missing", "x")


def start(folder: Path, *command: str):
    environment = {**os.environ, "PYTHONPATH": str(cli.ROOT), "JAX_NUM_CPU_DEVICES": "8"}
    return subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
    )


def test_program_from_another_folder(tmp_path):
    """The whole way once: config beside the package, two numbers in the sentence, status 2."""
    data = f"--config.data_dir={tmp_path}"
    end = start(tmp_path, "segjax.main", CONFIG, data, "--config.batch_size=6", "--workdir=w")
    assert end.returncode == 2
    assert end.stderr.startswith("segjax: A batch of 6 examples does not divide over 8 devices")
    assert end.stderr.count("\n") == 1


def test_help_tells_of_every_flag(tmp_path):
    end = start(tmp_path, "segjax.main", "--help")
    assert end.returncode == 0
    assert end.stdout.startswith("Train or evaluate what a config describes.")
    for flag in ("--config:", "--workdir:", "--[no]evaluate:", "--compilation_cache:"):
        assert flag in end.stdout


def test_stray_arguments_are_refused(tmp_path):
    end = start(tmp_path, "segjax.predict", "--images", "a.png", "b.png")
    assert (end.returncode, end.stderr.count("\n")) == (2, 1)
    assert "Unexpected argument 'b.png'" in end.stderr


def test_what_needs_more_memory_than_there_is_says_so(capsys):
    for error in (
        MemoryError(),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."),
    ):
        said = sentence_of(error, capsys)
        assert "needs more memory than there is" in said
        assert "GiB" in said
