"""The page of results: every figure from a record, every cell with its runs, and words that the numbers bear out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from study_cases import record, write

from aaren.errors import DataError
from aaren.studies import ENCODERS, write_tables

SETS = {"ETTh1": 0.4, "ETTh2": 0.5, "ETTm1": 0.3, "ETTm2": 0.2, "Weather": 0.25}


def example(results: Path, aaren: float = 0.41) -> None:
    """Five sets with all encoders and three seeds."""
    records = []
    for name, reference in SETS.items():
        for seed in range(3):
            for place, encoder in enumerate(ENCODERS):
                mse = reference * (1 + 0.002 * seed) * (aaren / 0.4 if encoder == "aaren" else 1 + 0.001 * place)
                simple = {"linear": {"mse": 0.35, "mae": 0.4}, "last value": {"mse": 1.0, "mae": 0.9}}
                records.append(
                    record(f"forecasting/{name}", encoder, seed, {"mse": mse, "mae": mse / 2}, simple, variant=192)
                )
    write(results, records)


def test_every_value_links_to_its_runs(tmp_path: Path) -> None:
    """Each set has a page with one line a run, and each cell of the table leads there."""
    example(tmp_path / "results")
    files = write_tables(tmp_path / "results", tmp_path / "docs")
    page = (tmp_path / "docs" / "results.md").read_text()
    links = set(re.findall(r"\]\((results/[^)]+\.md)\)", page))
    assert links == {f"results/forecasting-{name}.md" for name in SETS}
    for link in links:
        runs = (tmp_path / "docs" / link).read_text()
        assert len(re.findall(r"^\| (Aaren|Transformer|GRU|minGRU)", runs, re.MULTILINE)) == 3 * len(ENCODERS)
        assert "sha256 `" + "0" * 64 in runs
    assert all(path.exists() for path in files)
    assert "aria-label" in (tmp_path / "docs" / "results" / "parity.svg").read_text()


def test_the_verdict_follows_the_numbers(tmp_path: Path) -> None:
    """Aaren 2.5 % worse is equivalent within 5 %, and said to be worse; 20 % worse is not, and the sets are named."""
    example(tmp_path / "near", 0.41)
    example(tmp_path / "far", 0.48)
    pages = {}
    for name in ("near", "far"):
        write_tables(tmp_path / name, tmp_path / f"docs-{name}")
        pages[name] = (tmp_path / f"docs-{name}" / "results.md").read_text()
    verdict = "**is equivalent** to the Transformer within the margins, though measurably worse, over 5 data sets"
    assert f"**Aaren** {verdict} (two one-sided tests, p = " in pages["near"]
    assert "| Forecasting | +0.46<br>+0.46&nbsp;to&nbsp;+0.46<br>5 sets: equivalent, worse |" in pages["near"]
    verdict = "**is not shown to be equivalent** and is measurably worse over 5 data sets"
    assert f"**Aaren** {verdict}" in pages["far"]
    assert re.search(r"\| Forecasting \| \+3.95<br>[^|]*?<br>5 sets: not shown equivalent, worse \|", pages["far"])
    assert "worse on 5, better on 0. Worse by more than a margin: none." in pages["near"]
    assert "Worse by more than a margin: forecasting/ETT" in pages["far"]
    assert "beats all encoders in 2 of 5 rows (forecasting/ETTh1, forecasting/ETTh2)" in pages["near"]
    assert "75 runs in 5 rows, 3 seeds each" in pages["near"]
    assert (
        "**Mean rank** over the 5 rows that have 3 seeds of all encoders, 1 the best: Aaren with decay 1.00"
        in (pages["near"])
    )


def test_a_scale_that_few_sets_have_is_shown_and_does_not_count(tmp_path: Path) -> None:
    """One set's runs at the paper's size leave the verdict as it is; they have a row and are named beside it."""
    example(tmp_path / "results")
    write_tables(tmp_path / "results", tmp_path / "before")
    for encoder, mse in (("aaren", 0.2), ("transformer", 0.4)):
        runs = [record("forecasting/ETTh1", encoder, seed, {"mse": mse}, variant=192, scale="paper") for seed in (0, 1)]
        write(tmp_path / "results", runs)
    write_tables(tmp_path / "results", tmp_path / "after")
    before, after = ((tmp_path / name / "results.md").read_text() for name in ("before", "after"))
    told = [line for line in before.splitlines() if line.startswith("- ")]
    said = [line for line in after.splitlines() if line.startswith("- ")]
    assert [line for line in said if line not in told] == [
        "- **Scale paper**, which does not count above: Aaren's margins worse than the Transformer (than Aaren at "
        "scale small): forecasting/ETTh1, 192 -10.0 (-10.5), 2 seeds."
    ]
    assert len(told) == len(said) - 1
    assert "| ETTh1, 192, paper's size | original |" in after
    plots = [(tmp_path / name / "results" / "parity.svg").read_text() for name in ("before", "after")]
    assert re.findall('aria-label="[^"]*"', plots[0]) == re.findall('aria-label="[^"]*"', plots[1])


def test_another_scale_of_many_sets_has_a_verdict_of_its_own(tmp_path: Path) -> None:
    """Where enough sets were run at another scale, its line says how Aaren fares over them; the verdict stays."""
    example(tmp_path / "results")
    for name in SETS:
        for encoder, mse in (("aaren", 0.42), ("transformer", 0.4)):
            write(
                tmp_path / "results",
                [
                    record(f"forecasting/{name}", encoder, seed, {"mse": mse + 0.001 * seed}, variant=192, scale="long")
                    for seed in range(3)
                ],
            )
    write_tables(tmp_path / "results", tmp_path / "docs")
    page = (tmp_path / "docs" / "results.md").read_text()
    line = next(line for line in page.splitlines() if line.startswith("- **Scale long**"))
    assert "which does not count above: Aaren is 1.00 margins worse over 5 data sets (" in line
    assert line.endswith(" measurably worse; Aaren is on the mean 7.78 margins worse than at scale small.")
    assert "| All settings | +0.46<br>+0.46&nbsp;to&nbsp;+0.46<" in page


def test_another_scale_compares_like_with_like(tmp_path: Path) -> None:
    """A change of scale is paired by seed, in the Transformer's margins, by variant, and up where up is better."""
    example(tmp_path / "results")
    accuracies = {"small": {0: 0.5, 1: 0.7}, "paper": {1: 0.74, 2: 0.1}}
    write(
        tmp_path / "results",
        [
            record("classification/ECG5000", encoder, seed, {"accuracy": accuracy}, scale=scale)
            for encoder in ("aaren", "transformer")
            for scale, runs in accuracies.items()
            for seed, accuracy in runs.items()
        ]
        + [
            record("forecasting/ETTh1", encoder, 0, {"mse": mse}, variant=96, scale="paper")
            for encoder, mse in (("aaren", 0.42), ("transformer", 0.4))
        ]
        + [record("forecasting/ETTh2", "aaren", 0, {"mse": 0.4}, variant=192, scale="paper")],
    )
    write_tables(tmp_path / "results", tmp_path / "docs")
    page = (tmp_path / "docs" / "results.md").read_text()
    line = next(line for line in page.splitlines() if line.startswith("- **Scale paper**"))
    assert line.endswith(": forecasting/ETTh1, 96 +1.0, 1 seeds; classification/ECG5000 +0.0 (-2.0), 2 seeds.")


def test_scores_have_means_over_the_sets(tmp_path: Path) -> None:
    """Normalised scores are averaged over data sets, windowed and streamed, for encoders that all sets have."""
    simple = {"the data's own episodes": {"score": 50.0, "return": 1.0}}
    names = ["HalfCheetah-medium", "Hopper-medium", "Walker2d-medium", "Ant-medium", "Ant-medium-expert"]
    for place, name in enumerate(names):
        runs = [("aaren", 0, 10.0 * place), ("aaren", 1, 10.0 * place + 2), ("transformer", 0, 7.0)]
        runs += [("gru", 0, 1.0)] if place else []
        write(
            tmp_path / "results",
            [
                record(f"rl/{name}-regenerated", encoder, seed, {"score": score, "score_streamed": score / 2}, simple)
                for encoder, seed, score in runs
            ],
        )
    write_tables(tmp_path / "results", tmp_path / "docs")
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "| small | Aaren | 21.0 | 10.5 | 50.0 | 5 |" in page
    assert "| small | Transformer | 7.0 | 3.5 | 50.0 | 5 |" in page
    assert "| small | GRU |" not in page


def test_what_decay_changes_is_said(tmp_path: Path) -> None:
    """Aaren with decay is set against Aaren without it, seed by seed, in the Transformer's margins."""
    example(tmp_path / "results", 0.48)
    write_tables(tmp_path / "results", tmp_path / "docs")
    page = (tmp_path / "docs" / "results.md").read_text()
    line = next(line for line in page.splitlines() if line.startswith("- **What decay changes:**"))
    assert (
        "over the 5 data sets that have both, Aaren with decay is on the mean 3.97 margins better than without" in line
    )
    assert "Worse by more than a margin: none." in line
    assert line.count("(-4.0)") == 5
    example(tmp_path / "other", 0.32)
    write_tables(tmp_path / "other", tmp_path / "docs")
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "Aaren with decay is on the mean 4.01 margins worse than without" in page


def test_the_verdict_is_given_by_setting_and_by_family(tmp_path: Path) -> None:
    """What one setting hides of another is said, and what becomes of it where sets that share their data count once."""
    results = tmp_path / "results"
    example(results)
    sets = ("Taxi-a", "Taxi-b", "Taxi-c", "Wiki", "Sin")
    nll = {"aaren": 1.1, "transformer": 1.0}
    write(
        results,
        [record(f"events/{name}", one, seed, {"nll": nll[one]}) for name in sets for one in nll for seed in range(3)],
    )
    write_tables(results, tmp_path / "docs")
    page = (tmp_path / "docs" / "results.md").read_text()
    lines = page.splitlines()
    cell = "+0.46<br>+0.46&nbsp;to&nbsp;+0.46<br>5 sets: equivalent, worse"
    assert any(
        line.startswith(f"| Forecasting | {cell} | -0.02<br>-0.02&nbsp;to&nbsp;-0.02<br>5 sets: equivalent, better |")
        for line in lines
    )
    cell = "+2.00<br>+2.00&nbsp;to&nbsp;+2.00<br>5 sets: not shown equivalent, worse"
    assert f"| Event forecasting | {cell} | - | - | - |" in lines
    (line,) = (line for line in lines if line.startswith("- **Sets that share"))
    # ETT and Weather of forecasting, 0.46 each; Taxi, Wiki and Sin of events, 2 each
    assert "over 5 families, on the mean 1.38 margins worse" in line


def test_sets_of_few_test_cases_are_told_apart(tmp_path: Path) -> None:
    """Where one case of the test part is more than a margin the set is named, and its setting judged without it too."""
    results = tmp_path / "results"
    accuracy = {"aaren": 0.79, "transformer": 0.8}  # half a margin worse
    small = {"aaren": 0.7, "transformer": 0.8}  # five
    cases = {"A": 200, "B": 200, "C": 200, "D": 200, "E": 50, "Tiny": 49}
    for name, count in cases.items():
        for encoder, value in (small if name == "Tiny" else accuracy).items():
            for seed in range(3):
                one = record(f"classification/{name}", encoder, seed, {"accuracy": value})
                one["run"]["data"]["test_cases"] = count
                write(results, [one])
    write_tables(results, tmp_path / "docs")
    page = (tmp_path / "docs" / "results.md").read_text()
    (line,) = (line for line in page.splitlines() if line.startswith("- **Few test cases:**"))
    assert "is more than a margin in classification/Tiny (49). In classification without them Aaren is" in line
    assert line.endswith("0.50 margins worse over 5 data sets (+0.50 to +0.50), equivalent, measurably worse.")
    (results / "classification" / "Tiny.jsonl").unlink()
    write_tables(results, tmp_path / "docs")
    assert "Few test cases" not in (tmp_path / "docs" / "results.md").read_text()


def test_a_metric_that_is_no_number_is_the_worst_of_its_row(tmp_path: Path) -> None:
    """A run that failed has a dash, is beaten by a simple way whichever encoder it was of, and ends no page."""
    for encoder in ("aaren", "transformer"):
        results = tmp_path / encoder
        example(results)
        failed = record(
            "forecasting/ETTh1",
            encoder,
            0,
            {"mse": float("nan"), "mae": 0.2},
            {"linear": {"mse": 0.35, "mae": 0.4}},
            variant=192,
        )
        write(results, [failed])
        write_tables(results, tmp_path / "docs")
        page = (tmp_path / "docs" / "results.md").read_text()
        assert "beats all encoders in 2 of 5 rows (forecasting/ETTh1, forecasting/ETTh2)" in page
        assert "**Aaren** **is not shown to be equivalent** over 5 data sets (two" in page
        assert "| Forecasting | +inf<br>5 sets: not shown equivalent |" in page
        assert re.search(r"^\| ETTh1, 192 \| original \|.*\[-\]", page, re.MULTILINE)


def test_where_nothing_was_learned_is_said(tmp_path: Path) -> None:
    """A set on which all are worse than the last value is named and counted, and the verdict also given without it."""
    results = tmp_path / "results"
    example(results)
    simple = {"last value": {"mse": 0.1, "mae": 0.2}}
    idle = [
        record("forecasting/Exchange", encoder, seed, {"mse": mse, "mae": 0.3}, simple, variant=192)
        for encoder, mse in (("aaren", 0.4), ("transformer", 0.2))
        for seed in range(3)
    ]
    write(results, idle)
    write_tables(results, tmp_path / "docs")
    page = (tmp_path / "docs" / "results.md").read_text()
    assert ", in 1 data sets (forecasting/Exchange). Without them Aaren is 0.46 margins worse over 5 (" in page
    assert "| Forecasting | +3.72<br>" in page


@pytest.mark.parametrize(("mse", "learned"), [(0.97, False), (0.90, True)])
def test_to_have_learned_takes_a_margin(tmp_path: Path, mse: float, learned: bool) -> None:
    """A set whose encoders are a little better than the last value, within the margin, counts as one without learning.

    With another horizon at which something was learned it does not.
    """
    simple = {"last value": {"mse": 1.0, "mae": 0.2}}
    runs = [
        record("forecasting/Exchange", one, 0, {"mse": mse}, simple, variant=96) for one in ("aaren", "transformer")
    ]
    write(tmp_path, runs)
    write_tables(tmp_path, tmp_path / "docs")
    page = (tmp_path / "docs" / "results.md").read_text()
    assert ("**Nothing learned:**" in page) is not learned
    write(tmp_path, [record("forecasting/Exchange", "transformer", 0, {"mse": 0.5}, simple, variant=192)])
    write_tables(tmp_path, tmp_path / "docs")
    assert "**Nothing learned:**" not in (tmp_path / "docs" / "results.md").read_text()


def test_no_record_no_page(tmp_path: Path) -> None:
    """Without records nothing is written, and a page that is there stays."""
    (tmp_path / "results.md").write_text("a page")
    with pytest.raises(DataError, match=r"none: expected records, such as forecasting/ETTh1\.jsonl, received none"):
        write_tables(tmp_path / "none", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.md"]
    assert (tmp_path / "results.md").read_text() == "a page"


def test_few_runs_are_no_verdict(tmp_path: Path) -> None:
    """With fewer than five data sets of three seeds the page draws no conclusion, however clear they look."""
    example(tmp_path / "results")
    for name in ("ETTm2", "Weather"):
        file = tmp_path / "results" / "forecasting" / f"{name}.jsonl"
        file.write_text("\n".join(line for line in file.read_text().splitlines() if '"seed": 2' not in line) + "\n")
    write_tables(tmp_path / "results", tmp_path / "docs")
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "equivalent" not in page.split("## How to read it")[0]
    assert "- **Aaren**: too early to say. 3 data sets have 3 seeds" in page


def test_what_was_not_run_is_a_dash(tmp_path: Path) -> None:
    """An encoder without a run has a dash and no difference, and one seed has no interval."""
    write(
        tmp_path / "results",
        [
            record("forecasting/ETTh1", "aaren", 0, {"mse": 0.4, "mae": 0.3}),
            record("forecasting/ETTh1", "transformer", 0, {"mse": 0.5, "mae": 0.3}),
            record("forecasting/ETTh2", "aaren", 0, {"mse": 0.4, "mae": 0.3}),
        ],
    )
    write_tables(tmp_path / "results", tmp_path / "docs")
    page = (tmp_path / "docs" / "results.md").read_text()
    (first,) = re.findall(r"^\| ETTh1 \| original.*$", page, re.MULTILINE)
    (second,) = re.findall(r"^\| ETTh2 \| original.*$", page, re.MULTILINE)
    assert first.split(" | ")[-2] == "-0.1000"
    assert second.split(" | ")[3] == "-"
    assert second.split(" | ")[-2] == "-"


def test_marks_are_told_apart_from_the_likelihood(tmp_path: Path) -> None:
    """Accuracies of the mark stand beside those of the rules, a better rule is named, and joins the best simple way."""
    results = tmp_path / "results"
    simple = {
        "Poisson": {"nll": 5.0, "nll_time": 2.0, "nll_mark": 3.0, "accuracy": 0.1},
        "last mark": {"accuracy": 0.7},
        "Markov marks": {"accuracy": 0.2, "nll_mark": 0.5},
        "most frequent mark": {"accuracy": 0.1, "nll_mark": 3.0},
    }
    for name, accuracy in (("Wiki", 0.6), ("Taobao", 0.8)):
        for encoder, less in (("aaren", 0.1), ("transformer", 0.0)):
            runs = [
                record(f"events/{name}", encoder, seed, {"nll": 4.0, "accuracy": accuracy - less + 0.1 * seed}, simple)
                for seed in range(2)
            ]
            for one in runs:
                one["run"]["config"]["marks"] = 1234
            write(results, runs)
    write(results, [record("events/Sin", "aaren", 0, {"nll": 4.0}, {"Poisson": {"nll": 5.0, "nll_time": 5.0}})])
    write_tables(results, tmp_path / "docs")
    lines = (tmp_path / "docs" / "results.md").read_text().splitlines()
    assert "| Wiki | 1,234 | 0.5500 | - | 0.6500 | - | - | 0.7000 | 0.2000 | 0.1000 |" in lines
    assert not any(line.startswith("| Sin | 1,234") for line in lines)
    (said,) = (
        line for line in lines if line.startswith("- **Marks:** a rule tells the next one better than all encoders")
    )
    assert said.endswith(" in events/Wiki (by the last mark 0.70, by the best encoder 0.65).")
    assert any("| Wiki | " in line and "2.5000 (Poisson, Markov marks)" in line for line in lines)


def test_a_page_is_made_of_records_that_lack_metrics(tmp_path: Path) -> None:
    """Accuracies and likelihoods of marks that are null, none or no number leave their places empty, and no more."""
    results, nan = tmp_path / "results", float("nan")
    simple = {
        "Poisson": {"nll": 5.0, "nll_time": 2.0, "nll_mark": None, "accuracy": nan},
        "renewal log-normal": {"nll": 6.0, "nll_time": nan, "nll_mark": 3.0},
        "last mark": {"accuracy": 0.7},
        "Markov marks": {"nll_mark": 0.5, "accuracy": 0.6},
        "most frequent mark": {},
    }
    for encoder, metrics in {"aaren": {"accuracy": nan}, "transformer": {"accuracy": 0.6}, "gru": {}}.items():
        write(results, [record("events/Wiki", encoder, 0, {"nll": 4.0, **metrics}, simple)])
    write(results, [record("rl/HalfCheetah-medium-regenerated", "aaren", 0, {"score": 1.0, "return": 1.0})])
    write_tables(results, tmp_path / "docs")
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "| Wiki | 0 | - | - | 0.6000 | - | - | 0.7000 | 0.6000 | - |" in page
    assert "in events/Wiki (by the last mark 0.70, by the best encoder 0.60)" in page
    assert "2.5000 (Poisson, Markov marks)" in page
    assert "Beside public figures" not in page


def test_bars_that_were_set_are_shown(tmp_path: Path) -> None:
    """A bar is reached from the right side, at each scale by itself, and that of the data is the record's own."""
    results = tmp_path / "results"
    data = {"the data's own episodes": {"score": 40.0, "return": 5000.0}}
    recipe = "rl/HalfCheetah-medium-regenerated"
    write(
        results,
        [
            record("classification/JapaneseVowels", "aaren", 0, {"accuracy": 0.94}),
            record("classification/JapaneseVowels", "aaren", 1, {"accuracy": 0.97}),
            record("forecasting/ETTh1", "aaren", 0, {"mse": 0.66, "mae": 0.5}, variant=336),
            record("forecasting/ETTh1", "aaren", 0, {"mse": 0.1, "mae": 0.1}, variant=96),
            record(recipe, "aaren", 0, {"score": 39.0, "return": 4900.0}, data),
            record(recipe, "aaren", 0, {"score": 41.0, "return": 5100.0}, data, scale="no-dropout"),
            record(recipe, "transformer", 0, {"score": 1.0, "return": 1.0}, data),
        ],
    )
    write_tables(results, tmp_path / "docs")
    page = (tmp_path / "docs" / "results.md").read_text()
    table = page[page.index("## Beside public figures") :].split("\n\n")[2].splitlines()[2:]
    table = [line.replace("HalfCheetah-medium-regenerated", "HalfCheetah") for line in table]
    assert table == [
        "| JapaneseVowels | accuracy, at least | 0.95 | 0.9550 | yes |",
        "| ETTh1, 336 | MSE of the paper's Aaren, at most | 0.65 | 0.6600 | no |",
        "| ETTh1, 336 | MAE of the paper's Aaren, at most | 0.55 | 0.5000 | yes |",
        "| HalfCheetah | return of the recorded episodes, at least | 5000 | 4900 | no |",
        "| HalfCheetah, no-dropout | return of the recorded episodes, at least | 5000 | 5100 | yes |",
    ]


def test_runs_of_a_classifier_show_when_it_knew(tmp_path: Path) -> None:
    """The page of a set of series has the mean accuracy after each part of them, of each encoder."""
    for seed, early in enumerate(({"0.1": 0.25, "1.0": 0.75}, {"0.1": 0.5, "1.0": 1.0})):
        one = record("classification/ECG5000", "aaren", seed, {"accuracy": 0.75})
        write(tmp_path / "results", [one | {"early": early}])
    write_tables(tmp_path / "results", tmp_path / "docs")
    page = (tmp_path / "docs" / "results" / "classification-ECG5000.md").read_text()
    assert "| encoder | 10 % | 100 % |\n|---|---|---|\n| Aaren | 0.3750 | 0.8750 |\n" in page
