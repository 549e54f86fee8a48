"""The questions of the parity test: data, and how it becomes documents with cursors.

A package has two documents. In the first, whole code, every place marked with `|` is asked for its definition
and its hover, and the document itself for its diagnostics (each has a mistake or a revealed type in it, so
that an empty answer is never the right one). In the second every line ends in the middle of a
thought, and is asked for completions at its end.

A document is written once for all servers; nothing here depends on time, order or place.
"""

from __future__ import annotations

import dataclasses

CURSOR = "|"

@dataclasses.dataclass(frozen=True)
class Package:
    """One package and where it comes from.

    `origin`: `stdlib`, `debian` (dist-packages), `image` (pip in the Dockerfile), `venv`, `path-line`, `editable`,
    `namespace`. `compiled`: names of modules that have neither source nor stub, so that no server can say
    anything about what is in them.
    """

    name: str
    origin: str
    code: str
    completions: tuple[str, ...]
    compiled: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Probe:
    """One question: `line` and `column` from 0 into `document`; for diagnostics both are 0."""

    package: str
    origin: str
    kind: str
    document: str
    line: int
    column: int
    what: str
    compiled: bool = False

    @property
    def name(self) -> str:
        return f"{self.package} {self.kind} {self.what}"


def package(name: str, origin: str, code: str, *completions: str, compiled: tuple[str, ...] = ()) -> Package:
    return Package(name, origin, code.strip("\n") + "\n", completions, compiled)


PACKAGES = (
    package(
        "json", "stdlib",
        """
import json
value = json.lo|ads("1")
text: int = json.du|mps(value)
reveal_type(json.JSONDeco|der().decode)
""",
        "import json\njson.", "import json\njson.JSONEncoder().", "from json import dum",
    ),
    package(
        "asyncio", "stdlib",
        """
import asyncio
import collections.abc
async def main() -> None:
    task = asyncio.create_ta|sk(asyncio.sle|ep(1))
    reveal_type(task.cance|l())
asyncio.run(main)
""",
        "import asyncio\nasyncio.", "import asyncio\nasyncio.Queue().", "from asyncio import TaskG",
    ),
    package(
        "sqlite3", "stdlib",
        """
import sqlite3
import zlib
connection = sqlite3.conn|ect(":memory:")
rows = connection.exec|ute("select 1").fetch|all()
reveal_type(rows)
size: str = zlib.crc|32(b"")
""",
        "import sqlite3\nsqlite3.connect('').", "import sqli", "import zlib\nzlib.",
    ),
    package(
        "yaml", "debian",
        """
import yaml
loaded = yaml.safe_lo|ad("a: 1")
text = yaml.du|mp(loaded)
reveal_type(yaml.YAMLErr|or)
wrong: int = yaml.__version__
""",
        "import yaml\nyaml.", "from yaml import Safe", "import yaml\nyaml.Loader('').",
    ),
    package(
        "six", "debian",
        """
import six
text = six.ensure_s|tr(b"a")
name: int = six.text_ty|pe
reveal_type(six.PY|3)
""",
        "import six\nsix.", "from six import ensu", "import si",
    ),
    package(
        "numpy", "image",
        """
import numpy as np
from numpy.linalg import nor|m
zeros = np.zer|os((2, 3))
mean: str = zeros.me|an()
length = norm(zeros)
generator = np.random.default_r|ng(0)
reveal_type(generator.normal(size=3))
""",
        "import numpy as np\nnp.", "import numpy as np\nnp.linalg.", "import numpy as np\nnp.zeros(3).",
        "from numpy.random import defau",
    ),
    package(
        "pandas", "image",
        """
import pandas as pd
frame = pd.Data|Frame({"a": [1, 2]})
grouped = frame.group|by("a")
wrong: int = frame.des|cribe()
reveal_type(pd.read_cs|v("x.csv"))
""",
        "import pandas as pd\npd.", "import pandas as pd\npd.DataFrame().", "from pandas.api import ty",
    ),
    package(
        "pydantic", "image",
        """
from pydantic import BaseMo|del, Field, Validation|Error
class Settings(BaseModel):
    rate: float = Fi|eld(gt=0)
settings = Settings(rate=1.0)
reveal_type(settings.model_du|mp())
wrong: int = settings.rate
""",
        "import pydantic\npydantic.", "from pydantic import BaseModel\nclass A(BaseModel): ...\nA().",
        "from pydantic import field_",
    ),
    package(
        "pydantic_core", "image",
        """
import pydantic_core
url = pydantic_core.Ur|l("https://example.org")
reveal_type(url.ho|st)
wrong: int = pydantic_core.to_js|on(1)
""",
        "import pydantic_core\npydantic_core.", "from pydantic_core import core_sche",
        "import pydantic_core\npydantic_core.Url('').",
    ),
    package(
        "attrs", "image",
        """
import attr
from attrs import def|ine, fie|ld
@define
class Point:
    x: int
    y: int = field(default=0)
point = Point(1, "two")
reveal_type(attr.as|dict(point))
""",
        "import attrs\nattrs.", "from attrs import valid", "import attr\nattr.",
    ),
    package(
        "lxml", "image",
        """
import lxml
import lxml.etr|ee
from lxml import html
from lxml.builder import Element|Maker
root = lxml.etree.fromstr|ing("<a/>")
page = html.fromstr|ing("<p/>")
reveal_type(page)
wrong: int = ElementMaker()
""",
        "import lxml\nlxml.", "from lxml.builder import E", "import lxml.etree\nlxml.etree.",
        compiled=("lxml.etree", "etr|ee", "etree.fromstr|ing"),
    ),
    package(
        "PIL", "image",
        """
from PIL import Ima|ge
picture = Image.ope|n("x.png")
small = picture.thumb|nail((8, 8))
wrong: int = picture.size
reveal_type(picture.convert("L"))
""",
        "from PIL import Image\nImage.", "from PIL import Image\nImage.open('').", "from PIL import ImageF",
    ),
    package(
        "networkx", "image",
        """
import networkx as nx
graph = nx.Gra|ph()
graph.add_ed|ge(1, 2)
path = nx.shortest_pa|th(graph, 1, 2)
reveal_type(graph.nodes)
wrong: str = graph.number_of_nodes()
""",
        "import networkx as nx\nnx.", "import networkx as nx\nnx.Graph().", "from networkx import draw",
    ),
    package(
        "google.protobuf", "namespace",
        """
from google.protobuf import json_for|mat
from google.protobuf.timestamp_pb2 import Time|stamp
stamp = Timestamp(seconds=1)
text = json_format.MessageTo|Json(stamp)
reveal_type(text)
wrong: int = text
""",
        "from google.protobuf import ", "import google.protobuf\ngoogle.", "from google.protobuf import json_format\njson_format.",
    ),
    package(
        "google.rpc", "namespace",
        """
from google.rpc import sta|tus_pb2
from google.api import annota|tions_pb2
from google.type import da|te_pb2
status = status_pb2.Status(code=1)
reveal_type(status_pb2)
wrong: int = annotations_pb2
""",
        "from google.rpc import ", "from google import ", "from google.type import da",
    ),
    package(
        "parity_ns", "namespace",
        """
from parity_ns.a import Anc|hor
from parity_ns.b import low|est
deepest = lowest(Anchor(1.0), Anchor(2.0))
higher = deepest.rai|sed(1.0)
reveal_type(higher)
wrong: int = higher.depth
""",
        "from parity_ns import ", "from parity_ns.a import Anchor\nAnchor(1.0).", "from parity_ns.b import lo",
    ),
    package(
        "parity_extra", "path-line",
        """
from parity_extra import Comp|ass
compass = Compass().tu|rn(90.0)
reveal_type(compass.head|ing)
wrong: str = compass.heading
""",
        "import parity_extra\nparity_extra.", "from parity_extra import Compass\nCompass().", "import parity_ex",
    ),
    package(
        "parity_editable", "editable",
        """
from parity_editable import Reci|pe
recipe = Recipe("small").lon|ger(2)
reveal_type(recipe.epo|chs)
wrong: str = recipe.epochs
""",
        "import parity_editable\nparity_editable.", "from parity_editable import Recipe\nRecipe('').", "import parity_ed",
    ),
    package(
        "requests", "venv",
        """
import requests
response = requests.ge|t("https://example.org")
status: str = response.status_co|de
session = requests.Sess|ion()
reveal_type(response.js|on())
""",
        "import requests\nrequests.", "import requests\nrequests.Session().", "from requests import excep",
    ),
    package(
        "click", "venv",
        """
import click
@click.comm|and()
@click.opt|ion("--count", default=1)
def main(count: int) -> None:
    click.ec|ho(count)
reveal_type(main)
wrong: int = click.get_app_dir("x")
""",
        "import click\nclick.", "from click import Para", "import click\nclick.Context(click.Command('x')).",
    ),
    package(
        "rich", "venv",
        """
from rich.console import Con|sole
from rich.table import Ta|ble
console = Console()
console.pri|nt(Table(title="a"))
reveal_type(console.width)
wrong: str = console.height
""",
        "import rich\nrich.", "from rich.console import Console\nConsole().", "from rich import pro",
    ),
    package(
        "tqdm", "venv",
        """
from tqdm import tq|dm
from tqdm.auto import tra|nge
for step in tqdm(range(3)):
    reveal_type(step)
bar = tqdm(total=3)
bar.upda|te(1)
wrong: int = tqdm.__module__
""",
        "import tqdm\ntqdm.", "from tqdm import tqdm\ntqdm([]).", "from tqdm import tr",
    ),
    package(
        "httpx", "venv",
        """
import httpx
client = httpx.Cli|ent(timeout=5)
answer = client.ge|t("https://example.org")
reveal_type(answer.raise_for_sta|tus())
wrong: int = answer.text
""",
        "import httpx\nhttpx.", "import httpx\nhttpx.Client().", "from httpx import Async",
    ),
    package(
        "jinja2", "venv",
        """
import jinja2
environment = jinja2.Environ|ment()
template = environment.from_str|ing("{{ a }}")
reveal_type(template.rend|er(a=1))
wrong: int = template.render()
""",
        "import jinja2\njinja2.", "import jinja2\njinja2.Environment().", "from jinja2 import File",
    ),
    package(
        "fastapi", "venv",
        """
from fastapi import Depe|nds, Fast|API
app = FastAPI()
@app.ge|t("/")
def read() -> dict[str, int]:
    return {"a": 1}
reveal_type(app.router)
wrong: int = app.title
""",
        "import fastapi\nfastapi.", "from fastapi import FastAPI\nFastAPI().", "from fastapi.responses import JSON",
    ),
    package(
        "sqlalchemy", "venv",
        """
import sqlalchemy as sa
from sqlalchemy.orm import Sess|ion
engine = sa.create_eng|ine("sqlite://")
with Session(engine) as session:
    reveal_type(session.exec|ute(sa.text("select 1")))
wrong: int = engine.url
""",
        "import sqlalchemy as sa\nsa.", "from sqlalchemy.orm import mapped_", "import sqlalchemy\nsqlalchemy.create_engine('').",
    ),
    package(
        "pytest", "venv",
        """
import pytest
@pytest.fix|ture
def number() -> int:
    return 1
def test_number(number: int, monkeypatch: pytest.Monkey|Patch) -> None:
    with pytest.rai|ses(ValueError) as caught:
        reveal_type(caught)
wrong: int = pytest.__version__
""",
        "import pytest\npytest.", "import pytest\npytest.mark.", "from pytest import Monk",
    ),
    package(
        "einops", "venv",
        """
from einops import rear|range, redu|ce
from einops.layers.torch import Rearrange
import einops
shape = einops.parse_sha|pe([], "a b")
reveal_type(shape)
wrong: int = shape
""",
        "import einops\neinops.", "from einops import pa", "from einops.layers import ",
    ),
    package(
        "safetensors", "venv",
        """
import safetensors
from safetensors.numpy import save_fi|le
from safetensors import safe_op|en
blob = safetensors.serial|ize({})
reveal_type(blob)
save_file(1, 2)
""",
        "import safetensors\nsafetensors.", "from safetensors.numpy import lo", "from safetensors import ",
    ),
    package(
        "markdown", "venv",
        """
import markdown
converter = markdown.Mark|down()
page = converter.conv|ert("# a")
wrong: int = markdown.mark|down("a")
reveal_type(page)
""",
        "import markdown\nmarkdown.", "import markdown\nmarkdown.Markdown().", "from markdown import ext",
    ),
    package(
        "msgspec", "venv",
        """
import msgspec
class Event(msgspec.Str|uct):
    name: str
data = msgspec.json.enc|ode(Event("a"))
reveal_type(msgspec.json.dec|ode(data, type=Event))
wrong: int = data
""",
        "import msgspec\nmsgspec.", "import msgspec\nmsgspec.json.", "from msgspec import Str",
    ),
    package(
        "orjson", "venv",
        """
import orjson
blob = orjson.dum|ps({}, option=orjson.OPT_INDENT|_2)
reveal_type(orjson.lo|ads(blob))
wrong: int = blob
""",
        "import orjson\norjson.", "from orjson import OPT_", "import orj",
    ),
)


def documents() -> dict[str, str]:
    """Every document's text without cursors, by its path in the workspace."""
    found: dict[str, str] = {}
    for one in PACKAGES:
        stem = one.name.replace(".", "_")
        found[f"probes/whole_{stem}.py"] = one.code.replace(CURSOR, "")
        for number, text in enumerate(one.completions):
            found[f"probes/part_{stem}_{number}.py"] = text + "\n"
    return found


def probes() -> list[Probe]:
    """All probes, in the order of the table."""
    return [probe for one in PACKAGES for probe in _of(one)]


def _of(one: Package):
    stem = one.name.replace(".", "_")
    whole = f"probes/whole_{stem}.py"
    yield Probe(one.name, one.origin, "diagnostics", whole, 0, 0, "of the whole")
    for line, text in enumerate(one.code.splitlines()):
        while (column := text.find(CURSOR)) >= 0:
            text = text[:column] + text[column + 1 :]
            word = _word_at(text, column)
            compiled = any(name.replace(CURSOR, "") in text for name in one.compiled)
            yield Probe(one.name, one.origin, "definition", whole, line, column, word, compiled)
            yield Probe(one.name, one.origin, "hover", whole, line, column, word, compiled)
    for number, text in enumerate(one.completions):
        lines = text.split("\n")
        compiled = any(name.replace(CURSOR, "") in text for name in one.compiled)
        document = f"probes/part_{stem}_{number}.py"
        yield Probe(one.name, one.origin, "completion", document, len(lines) - 1, len(lines[-1]), lines[-1], compiled)


def _word_at(text: str, column: int) -> str:
    start, end = column, column
    while start and (text[start - 1].isalnum() or text[start - 1] in "_."):
        start -= 1
    while end < len(text) and (text[end].isalnum() or text[end] == "_"):
        end += 1
    return text[start:end]
