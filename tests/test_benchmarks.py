"""The benchmarks: each runs, says what it must, and refuses to time what is wrong. No time is asserted anywhere."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
import xml.etree.ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from aaren.ops import Backend, register_backend

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
TIMED = ("prefix_attention", "layer", "training", "step", "memory", "pool", "endurance")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import a file of benchmarks/ as its own command would; nothing of it stays behind."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads, known = torch.get_num_threads(), set(sys.modules)
    yield importlib.import_module
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    for name in set(sys.modules) - known:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == BENCHMARKS:
            del sys.modules[name]


@pytest.fixture
def wrong_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that "auto" prefers to all others, and whose outputs are a little too large."""
    from aaren.ops import _registry

    monkeypatch.setattr(_registry, "_BACKENDS", dict(_registry._BACKENDS))
    monkeypatch.setattr(_registry, "_AUTO", {})
    right = _registry._BACKENDS["scan"].forward

    def forward(scores: Any, values: Any, log_decay: Any, state: Any) -> object:
        outputs, after = right(scores, values, log_decay, state)  # type: ignore[misc]
        return 1.01 * outputs, after

    register_backend(Backend("slightly-wrong", "for a test", forward, priority=10_000))


def record(load: Callable[[str], ModuleType], name: str, path: Path, *more: str) -> dict[str, Any]:
    """What a benchmark writes when it runs quickly."""
    assert load(name).main(["--quick", "--threads", "1", "--json", str(path), *more]) == 0
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", [*TIMED, "store", "export_step"])
def test_each_benchmark_says_what_it_measured(name, load, tmp_path, capsys):
    """Every case has a limit, contenders with samples, and ratios; the machine is described; the last line is JSON."""
    found = record(load, name, tmp_path / "record.json")
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == found
    assert {"cpu", "cores", "threads", "load_at_start", "torch", "aaren", "commit", "auto"} <= set(found["machine"])
    assert found["machine"]["threads"] == 1
    assert found["quick"]
    assert found["results"]
    for result in found["results"]:
        assert result["limit"]
        assert result["median"].keys() == result["samples"].keys()
        assert all(sample > 0 for samples in result["samples"].values() for sample in samples)
        assert all(ratio > 0 for ratio in result["ratios"].values())
        assert result["bars"].keys() <= result["ratios"].keys()


@pytest.mark.parametrize("name", TIMED)
def test_a_wrong_kernel_is_not_timed(name, wrong_kernel, load, tmp_path, capsys):
    """A backend whose outputs are 1 % off ends every benchmark with exit code 1, its name, and no record."""
    path = tmp_path / "record.json"
    assert load(name).main(["--quick", "--threads", "1", "--json", str(path)]) == 1
    assert "slightly-wrong" in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_products_have_the_precision_asked_for(precision, load, tmp_path, monkeypatch):
    """Gate and contenders run with the precision of products that the option names, and the record says which."""
    layer, seen = load("layer"), []

    def watched(quick: bool) -> list[str]:
        seen.append(torch.get_float32_matmul_precision())
        return []

    monkeypatch.setattr(layer, "model_faults", watched)
    options = [] if precision == "highest" else ["--matmul-precision", precision]
    found = record(load, "layer", tmp_path / "record.json", *options)
    assert found["machine"]["matmul_precision"] == precision
    assert [*seen, torch.get_float32_matmul_precision()] == [precision] * 2


def test_a_case_that_does_not_exist_is_refused(load, tmp_path, capsys):
    """A misspelt case gives exit code 2 and no record."""
    path = tmp_path / "record.json"
    assert load("layer").main(["--quick", "--threads", "1", "--json", str(path), "--case", "no such case"]) == 2
    assert "no such case" in capsys.readouterr().err
    assert not path.exists()


def test_a_wrong_stream_is_not_timed(load, monkeypatch):
    """An encoder whose steps differ from its parallel pass is found, by name."""
    gate = load("_gate")
    from aaren.nn import GRUEncoder

    right = GRUEncoder.step
    monkeypatch.setattr(GRUEncoder, "step", lambda self, x, state: right(self, 1.01 * x, state))
    assert [fault.split(":")[0] for fault in gate.encoder_faults()] == ["GRU"]


def test_an_unfused_baseline_is_found(load, monkeypatch):
    """A Transformer that would not run the fused causal kernel is not compared with."""
    gate = load("_gate")
    from torch.nn.attention import SDPBackend, sdpa_kernel

    assert gate.encoder_faults() == []
    with sdpa_kernel(SDPBackend.MATH):
        assert any("fused" in fault for fault in gate.encoder_faults())


def test_a_cache_that_is_copied_ends_the_run(load, monkeypatch):
    """The time of a copy is never taken for that of a step."""
    step = load("step")
    monkeypatch.setattr(step, "full_caches", lambda layers, tokens, capacity: _full(step, layers, tokens))
    with pytest.raises(step.CacheCopiedError):
        step.steps_of_module(16, 2)()


def _full(step: ModuleType, layers: int, tokens: int) -> Any:
    """Caches without room for one more token."""
    peers = sys.modules["_peers"]
    return peers.full_caches(layers, tokens, tokens)


def test_products_are_those_of_the_layer(load):
    """The matrix products that stand for the limit have as many operations as those that an Aaren layer runs."""
    peers = load("_peers")
    from torch.utils.flop_counter import FlopCounterMode

    layer, x = peers.encoder(peers.AAREN, layers=1), peers.random(2, 40, peers.D_MODEL)
    with FlopCounterMode(display=False) as of_layer:
        layer(x.requires_grad_())[0].sum().backward()
    with FlopCounterMode(display=False) as of_products:
        peers.Products(2 * 40, layers=1, input_grad=True).both()
    # the query token is folded into the key projection once a call, whatever the number of tokens
    assert of_products.get_total_flops() <= of_layer.get_total_flops() <= 1.2 * of_products.get_total_flops()


def test_sweeps_become_plots(load, tmp_path):
    """A sweep has a point for each number of tokens, and every family of curves becomes an SVG that is well formed."""
    files = []
    for name in ("prefix_attention", "training"):
        files.append(str(tmp_path / f"{name}.json"))
        found = record(load, name, Path(files[-1]), "--sweep")
        assert {result["size"]["tokens"] for result in found["results"]} == {64, 256}
    assert load("plots").main([*files, "--into", str(tmp_path / "images")]) == 0
    images = sorted((tmp_path / "images").glob("*.svg"))
    assert [path.stem for path in images] == ["operator-backward", "operator-forward", "training-step"]
    for path in images:
        assert xml.etree.ElementTree.parse(path).getroot().tag.endswith("svg")


def test_plots_of_no_sweep_are_refused(load, tmp_path, capsys):
    """A record without curves gives no image, and says why."""
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"results": []}), encoding="utf-8")
    assert load("plots").main([str(path)]) == 1
    assert "--sweep" in capsys.readouterr().err


def test_slow_contenders_leave_a_sweep(load):
    """What would take more than 10 s at the next size is left out from there on, and the record says so."""
    harness = load("_harness")
    too_slow = harness._TooSlow()

    def case(tokens: int) -> Any:
        contenders = {"slow": None, "fast": None}
        return harness.Case("a case", "a limit", contenders, size={"tokens": tokens}, series="a sweep")

    for tokens, slow in ((64, 100.0), (256, 1600.0)):
        assert too_slow.of(case(tokens)) == {}
        too_slow.add(case(tokens), harness.result(case(tokens), {"slow": [slow], "fast": [1.0]}))
    assert too_slow.of(case(1024)) == {"slow": "26 s expected at 1,024 tokens"}
    assert too_slow.of(case(4096)) == {"slow": "26 s expected at 1,024 tokens"}


def test_verdicts(load):
    """A bar holds or is missed by a factor, whichever side it is on."""
    verdict = load("_text").verdict
    assert verdict(3.0, {"at_least": 3}) == ">= 3: holds"
    assert verdict(1.5, {"at_least": 3}) == ">= 3: missed by 2.00 x"
    assert verdict(1.2, {"at_most": 1.3}) == "<= 1.3: holds"
    assert verdict(2.6, {"at_most": 1.3}) == "<= 1.3: missed by 2.00 x"
    assert verdict(5.0, {}) == ""


def written(path: Path, quick: bool = False, **samples: list[float]) -> str:
    """A record of one case."""
    result = {"case": "a case", "unit": "ms", "samples": samples}
    path.write_text(json.dumps({"machine": {"cpu": "a"}, "quick": quick, "results": [result]}), encoding="utf-8")
    return str(path)


def test_compare_flags_what_is_beyond_the_noise(load, tmp_path, capsys):
    """A change that the samples cannot explain is flagged, with its direction; one that they can is not."""
    noisy, noisier = [10.0, 14.0, 9.0, 12.0, 11.0], [11.0, 15.0, 10.0, 13.0, 12.0]
    old = written(tmp_path / "old.json", steady=[1.0, 1.01, 0.99], noisy=noisy, better=[2.0, 2.01, 1.99])
    new = written(tmp_path / "new.json", steady=[1.2, 1.21, 1.19], noisy=noisier, better=[1.0, 1.01, 0.99])
    compare = load("compare")
    assert compare.main([old, new]) == 0
    out = capsys.readouterr().out
    lines = {line.split()[0]: line for line in out.splitlines() if "->" in line}
    assert lines["steady"].endswith("higher")
    assert lines["better"].endswith("lower")
    assert lines["noisy"].endswith("%")
    assert "2 of 3 beyond the noise" in out


def test_compare_names_what_differs_between_machines(load):
    """Records of before an option was there are as with its default, on either side; the load is no difference."""
    differences = load("compare").differences
    old: dict[str, object] = {"cpu": "a", "load_at_start": 0.1}
    new = {**old, "load_at_start": 2.0, "keeps_memory": False, "matmul_precision": "highest"}
    assert differences(old, new) == differences(new, old) == []
    medium = {**new, "cpu": "b", "matmul_precision": "medium"}
    assert sorted(differences(old, medium)) == ["cpu: a -> b", "matmul_precision: highest -> medium"]
    assert sorted(differences(medium, old)) == ["cpu: b -> a", "matmul_precision: medium -> highest"]


def test_compare_refuses_quick_records(load, tmp_path, capsys):
    """Times of --quick mean nothing and are not compared."""
    quick = written(tmp_path / "quick.json", quick=True, steady=[1.0])
    assert load("compare").main([quick, quick]) == 2
    assert "--quick" in capsys.readouterr().err


def test_compare_checks_commits_out_and_cleans_up(load, tmp_path):
    """Each side has the files of its commit, and no worktree is left behind, not even after an error."""
    compare = load("compare")
    repository = tmp_path / "repository"
    repository.mkdir()
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    compare.git(repository, "init", "--quiet")
    for content in ("old", "new"):
        (repository / "file").write_text(content, encoding="utf-8")
        compare.git(repository, "add", "file")
        compare.git(repository, *who, "commit", "--quiet", "--no-verify", "-m", content)
    trees = []

    def fail() -> None:
        with compare.checkout(repository, "HEAD~1") as old:
            trees.append((old, (old / "file").read_text(encoding="utf-8")))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert trees[0][1] == "old"
    assert not trees[0][0].exists()
    assert len(compare.git(repository, "worktree", "list").splitlines()) == 1


def test_compare_runs_the_package_of_a_folder(load, tmp_path):
    """The package comes from the commit's folder, whatever is installed; a folder without it is refused."""
    compare = load("compare")
    package = tmp_path / "src"
    (package / "aaren").mkdir(parents=True)
    (package / "aaren" / "__init__.py").write_text("version = 'of the commit'\n", encoding="utf-8")
    file = tmp_path / "benchmark.py"
    file.write_text(
        "import aaren, json, pathlib, sys\npathlib.Path(sys.argv[-1]).write_text(json.dumps({'v': aaren.version}))\n",
        encoding="utf-8",
    )
    assert compare.run_with(package, file, []) == {"v": "of the commit"}
    with pytest.raises((RuntimeError, subprocess.CalledProcessError)):
        compare.run_with(tmp_path / "nothing", file, [])


def test_instructions_serves_every_kernel(load):
    """The counted process names its kernels first, then does what it is asked for."""
    instructions = load("instructions")
    answers = io.StringIO()
    instructions.serve(io.StringIO("2 blocks forward\n1 blocks backward\n"), answers)
    first, *rest = answers.getvalue().splitlines()
    assert {"blocks forward", "blocks backward"} <= set(json.loads(first))
    assert rest == ["done", "done"]


def test_more_instructions_fail(load, capsys):
    """More than 5 % above the baseline is a failure; less, or a kernel that is new, is none."""
    instructions = load("instructions")
    baseline = json.loads(instructions.BASELINE.read_text(encoding="utf-8"))
    name, before = next(iter(baseline["instructions"].items()))
    for factor, good in ((0.9, True), (1.04, True), (1.06, False)):
        counted = instructions.Counted(baseline["environment"], {name: factor * before, "new forward": 1.0})
        assert instructions.compare(counted, baseline) == good
    assert "no baseline" in capsys.readouterr().out


def test_page_is_made_from_records(load):
    """The page of benchmarks is what its records and images give: no figure in it was typed."""
    assert load("tables").main(["--check"]) == 0


def test_tables_of_records(load, tmp_path, monkeypatch):
    """A record becomes a table with limit, medians, ratios and verdicts; one of --quick is refused."""
    tables = load("tables")
    monkeypatch.setattr(tables, "RECORDS", tmp_path)
    found = record(load, "layer", tmp_path / "layer.json")
    with pytest.raises(ValueError, match="quick"):
        tables.record("layer")
    found["results"][0]["bars"] = {"share of the products": {"at_least": 1e9}}
    (tmp_path / "layer.json").write_text(json.dumps(found | {"quick": False}), encoding="utf-8")
    text = tables.record("layer")
    assert "| Aaren |" in text
    assert "| *share of the products* |" in text
    assert "missed by" in text
    assert found["machine"]["cpu"] in text
    assert "products in precision" not in text
    machine = found["machine"]
    assert "products in precision *medium*" in tables.machine({**machine, "matmul_precision": "medium"})
    of_before = {key: value for key, value in machine.items() if key not in ("keeps_memory", "matmul_precision")}
    assert tables.machine(of_before) == tables.machine(machine)


def test_page_of_anomalies_has_the_figures_of_its_record(load: Callable[[str], ModuleType]) -> None:
    """The table of docs/anomalies.md is what the record gives, and the record is of the script's own settings."""
    record = json.loads((ROOT / "results" / "anomaly" / "nab.json").read_text(encoding="utf-8"))
    nab = load("nab")
    assert nab.markdown(record) in (ROOT / "docs" / "anomalies.md").read_text(encoding="utf-8")
    assert (record["epochs"], tuple(record["seeds"])) == (nab.EPOCHS, nab.SEEDS)
    assert record["model"] == {**nab.MODEL, "quantiles": list(nab.MODEL["quantiles"])}


def test_the_plan_of_a_cluster_is_calculated(load, tmp_path, capsys):
    """From figures of a run: events over what a core does with room to spare, whole machines, their price."""
    figures = {"record_bytes": 1000, "checkpoint_bytes_per_stream": 1100, "dense": {"events_per_second_per_core": 1000}}
    path = tmp_path / "run.json"
    path.write_text(json.dumps(figures), encoding="utf-8")
    assert load("engine").main(["--plan", str(path), "--interval", "100", "--price", "0.1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| 1,000,000 | 10,000 | 1.0 GB | 1.1 GB | 3,334 | 17 | 2 | 2,336 |"
    assert lines[-1].startswith("| 1,000,000,000 | 10,000,000 | 1,000.0 GB | 1,100.0 GB | 3,333,334 | 16,667 |")


def test_install_sizes_are_counted(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """What must be installed is counted package by package; numpy is part of what PyTorch's environment has."""
    assert load("install_size").main(["--json", str(tmp_path / "sizes.json")]) == 0
    found = json.loads((tmp_path / "sizes.json").read_text(encoding="utf-8"))
    assert found["ratio"] > 2
    assert set(found["numpy"]["packages"].items()) <= set(found["PyTorch"]["packages"].items())
    for environment in ("numpy", "PyTorch"):
        assert found[environment]["bytes"] == sum(found[environment]["packages"].values())
        assert min(found[environment]["packages"].values()) > 1000
