"""docs/reference/performance.md and its sisters are what the stored results say, no better."""

from __future__ import annotations

import dataclasses

import pytest
from bench import page, results
from bench.figures import Figure
from bench.operations import OPERATIONS
from bench.results import Part, Ratios, Row
from bench.runs import page as runs_page
from bench.transfers import page as data_page

MACHINE = {"CPU": "A processor, 2 CPUs"}


def row(name="retrieve", connections=64, against=("yardstick", "fastapi"), cpu=1.0, per_s=1.0, failed=None):
    names = ("threadkeep", *against)
    failed = dict.fromkeys(names, 0) | (failed or {})
    ratio = Ratios(cpu=Figure((cpu, cpu)), per_s=Figure((per_s, per_s)))
    return Row(
        operation=name,
        connections=connections,
        ratios={other: None if failed["threadkeep"] or failed[other] else ratio for other in against},
        p50_ms={side: None if failed[side] else 1.5 for side in names},
        p99_ms={side: None if failed[side] else 9.5 for side in names},
        failed=failed,
    )


def part(*rows, **others):
    setup = {"threads": 10_000, "rounds": 5, "seconds": 2, "full_one_in": 1, "postgresql": "18.4", "small_threads": 100}
    return Part(MACHINE, setup, list(rows), others)


def cells(text, name):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {name}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_is_what_the_stored_results_render_to():
    assert page.PATH.read_text(encoding="utf-8") == page.render(results.read()), "python -m bench --render"


def test_parts_that_were_not_measured_say_so():
    text = page.render({"large": part()})
    assert text.count("Not measured yet; `make bench` does it.") == 2
    assert "make bench-large` does it" not in text


def test_a_part_survives_the_file(tmp_path):
    written = part(row(), row(failed={"fastapi": 2}), start_s=Figure((0.25, 0.5)))
    results.write("sqlite", written, tmp_path)
    results.write("large", part(), tmp_path)
    assert results.read(tmp_path) == {"sqlite": written, "large": part()}


def test_goals_on_sqlite_are_for_64_connections():
    text = page.render({"sqlite": part(row(cpu=1.0), row("delete", connections=1, cpu=99.0))})
    assert cells(text, "retrieve")[1:4] == ["1.00 ± 0%", "≤ 1.5", "met"]
    assert "missed" not in " ".join(cells(text, "delete"))


def test_fastapi_is_told_as_how_many_times_our_cpu():
    assert cells(page.render({"sqlite": part(row(cpu=0.05))}), "retrieve")[5:7] == ["20 ± 0%", "met"]
    assert cells(page.render({"sqlite": part(row(cpu=0.1))}), "retrieve")[5:7] == ["10 ± 0%", "missed"]


@pytest.mark.parametrize(("name", "goal", "verdict"), [("retrieve", "≥ 1", "met"), ("delete", "≥ 2", "missed")])
def test_on_postgresql_writes_have_a_higher_goal(name, goal, verdict):
    text = page.render({"postgres": part(row(name, per_s=1.5))})
    assert cells(text, name)[1:4] == ["1.50 ± 0%", goal, verdict]


def test_with_a_million_threads_every_load_is_judged():
    text = page.render({"large": part(row(connections=1, against=("small",), cpu=1.4))})
    assert cells(text, "retrieve")[1:4] == ["1.40 ± 0%", "≤ 1.25", "missed"]


def test_a_failed_request_of_fastapi_spoils_what_is_compared_with_it():
    told = cells(page.render({"sqlite": part(row(failed={"fastapi": 3}))}), "retrieve")
    assert told[0] == "retrieve (FastAPI: 3 failed)"
    assert told[1:4] == ["1.00 ± 0%", "≤ 1.5", "met"]
    assert told[5:] == ["void", "void", "1.50, 1.50, void", "9.50, 9.50, void"]


def test_a_failed_request_of_ours_spoils_the_row():
    told = cells(page.render({"sqlite": part(row(failed={"threadkeep": 1}))}), "retrieve")
    assert told[0] == "retrieve (Threadkeep: 1 failed)"
    assert told[1:7] == ["void", "≤ 1.5", "void", "void", "void", "void"]


def test_figures_beside_the_operations_have_goals():
    text = page.render({"sqlite": part(start_s=Figure((0.2, 0.3)), load_mb=Figure((130.0,)), **{"long page": None})})
    assert cells(text, "start")[1:] == ["0.25 ± 20%", "≤ 1", "met"]
    assert cells(text, "anonymous memory under load")[1:] == ["130", "≤ 120", "missed"]
    assert cells(text, "a page of the long thread")[1:] == ["void", "≤ 1.1", "void"]


def test_parts_of_different_machines_name_theirs():
    here = part()
    there = dataclasses.replace(here, machine={"CPU": "Another"})
    assert page.render({"sqlite": here, "postgres": here}).count("A processor") == 1
    text = page.render({"sqlite": here, "postgres": here, "large": there})
    assert "On SQLite, On PostgreSQL:\n\n| what | used |" in text
    assert "With a million threads:\n\n| what | used |" in text


def test_every_operation_is_named_once():
    names = [operation.name for operation in OPERATIONS]
    assert len(set(names)) == len(names) == 9


def test_what_follows_a_delete_is_shown_without_a_goal():
    text = page.render({"sqlite": part(**{"delete in all": Figure((3.0, 3.0))})})
    assert cells(text, "a delete with the removal that follows")[1:] == ["3.00 ± 0%", "none", ""]


def test_the_page_of_runs_is_what_the_stored_results_render_to():
    stored = runs_page.render(results.read(names=tuple(runs_page.PARTS.values())))
    assert runs_page.PATH.read_text(encoding="utf-8") == stored, "python -m bench.runs --render"


def test_the_page_of_data_is_what_the_stored_results_render_to():
    stored = data_page.render(results.read(names=tuple(data_page.PARTS.values())))
    assert data_page.PATH.read_text(encoding="utf-8") == stored, "python -m bench.transfers --render"


def test_rates_are_to_be_at_least_their_goals():
    figures = {"import_per_s": Figure((25_000.0,)), "export_per_s": Figure((9_000.0,))}
    text = data_page.render({"data-sqlite": part(**figures)})
    assert cells(text, "`threadkeep import`, messages a second")[1:] == ["25,000", "≥ 20,000", "met"]
    assert cells(text, "`threadkeep export`, messages a second")[1:] == ["9,000", "≥ 20,000", "missed"]


def test_figures_of_runs_are_judged_where_there_is_a_goal():
    figures = {"steady_us": Figure((100.0, 110.0)), "held_streams": Figure((300.0,))}
    text = runs_page.render({"runs-sqlite": part(**figures), "runs-postgres": part(steady_us=Figure((300.0,)))})
    sqlite, postgres = text.split("## On PostgreSQL")
    assert cells(sqlite, "CPU a token, 100")[1:] == ["105 µs ± 5%", "≤ 120 µs", "met"]
    assert cells(sqlite, "streams of 20")[1:] == ["300", "none", ""]
    assert cells(postgres, "CPU a token, 100")[1:] == ["300 µs", "none", ""]
