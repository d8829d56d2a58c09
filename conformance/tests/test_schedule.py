"""The order in which cells are judged by several workers, and what becomes of those that need not be judged."""

from nameplate_conformance import Architecture, Result, Status
from nameplate_conformance.judging.cell import Cell
from nameplate_conformance.judging.runner import cells, needs_of
from nameplate_conformance.judging.schedule import Schedule, broken, with_needs

NAMED = Architecture(config="", name="named")


def schedule_of(*laws: str, devices: tuple[str, ...] = ("cpu",)) -> tuple[Schedule, list[Result]]:
    found: list[Result] = []
    return Schedule(cells([NAMED], devices, laws), found.append), found


def passed(cell: Cell) -> Result:
    return cell.result(Status.PASS, evidence={"things": 1})


def test_no_cell_is_handed_out_before_what_it_needs():
    """However many ask at once, a cell is taken only when all its needs have a result."""
    schedule, _ = schedule_of("S02")
    order: list[Cell] = []
    while taken := list(iter(schedule.take, None)):
        assert all(need.key in schedule.results for cell in taken for need in needs_of(cell))
        for cell in taken:
            schedule.finish(cell, passed(cell))
        order += taken

    assert [cell.key for cell in order] != []
    assert {cell.key for cell in order} == with_needs(schedule.wanted).keys()
    assert [result.law for result in schedule.report()] == ["S02"]


def test_a_failed_need_blocks_and_is_reported():
    """What rests on a failure is blocked without being judged, and the failure stands before it, asked for or not."""
    schedule, found = schedule_of("M01", "C02")
    while (cell := schedule.take()) is not None:
        schedule.finish(cell, cell.result(Status.FAIL if cell.law.id == "A01" else Status.PASS))

    root, *_ = schedule.report()
    assert (root.law, root.status) == ("A01", Status.FAIL)
    assert {each.law: each.blocked_by for each in found if each.law != "A01"} == {"M01": ("A01",), "C02": ("A01",)}


def test_an_absent_device_is_not_run():
    """Nobody is handed a cell on a device that is not there."""
    schedule, _ = schedule_of("S02", devices=("cpu", "xpu"))
    while (cell := schedule.take()) is not None:
        assert cell.device == "cpu"
        schedule.finish(cell, passed(cell))

    assert [(each.device, each.status) for each in schedule.report()] == [
        ("cpu", Status.PASS),
        ("xpu", Status.NOT_RUN),
    ]


def test_one_worker_at_a_time_has_an_accelerator(monkeypatch):
    """Of two cells on one accelerator the second waits for the first; cells on the host do not."""
    monkeypatch.setattr("nameplate_conformance.judging.runner.present_devices", lambda: ["cpu", "cuda"])
    schedule, _ = schedule_of("D01", "D02", devices=("cpu", "cuda"))
    for cell in with_needs(schedule.wanted).values():
        if cell.law.id not in {"D01", "D02"}:
            schedule.results[cell.key] = passed(cell)
    schedule = Schedule(schedule.wanted, results=schedule.results)
    taken = list(iter(schedule.take, None))

    assert [cell.device for cell in taken].count("cuda") == 1
    for cell in taken:
        schedule.finish(cell, passed(cell))
    assert [cell.device for cell in iter(schedule.take, None)].count("cuda") == 1


def test_what_is_known_is_not_judged_again():
    """Results of an earlier run are neither handed out nor announced, and are in the report."""
    wanted = cells([NAMED], ["cpu"], ["A01", "A02"])
    found: list[Result] = []
    schedule = Schedule(wanted, found.append, {wanted[0].key: passed(wanted[0])})
    taken = list(iter(schedule.take, None))

    assert [cell.law.id for cell in taken] == ["A02"]
    schedule.finish(taken[0], passed(taken[0]))
    assert [each.law for each in schedule.report()] == ["A01", "A02"]
    assert [each.law for each in found] == ["A02"]


def test_what_cannot_be_loaded_is_one_error():
    """An architecture that cannot be loaded has one error, which blocks its other laws; nobody has to judge it."""
    wanted = cells([NAMED, Architecture(config="", name="other")], ["cpu"], ["A01", "C01"])
    lost = broken(wanted, {"named": "no such module"})
    schedule = Schedule(wanted, results=dict(lost))

    assert [(law, each.status, each.message) for (_, law, _), each in lost.items()] == [
        ("A01", Status.ERROR, "it cannot be loaded: no such module"),
        ("C01", Status.BLOCKED, "blocked by A01"),
    ]
    assert {cell.architecture.label for cell in iter(schedule.take, None)} == {"other"}
