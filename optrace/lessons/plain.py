"""A lesson as one Markdown text, with the numbers of this run and the answers: where there is no terminal."""

from __future__ import annotations

from collections.abc import Iterator

from optrace.lessons.filling import shown
from optrace.lessons.model import Run, Stop
from optrace.lessons.played import Played

WORDS = {
    "en": {
        "question": "Question", "answer": "Answer", "untrue": "Not true of this run",
        "repair": "The repair", "found": "finds", "nothing": "nothing",
    },
    "zh-CN": {
        "question": "问题", "answer": "答案", "untrue": "与这次运行不符",
        "repair": "修复", "found": "的检查结果", "nothing": "无",
    },
}  # fmt: skip


def plain(played: Played) -> str:
    """The whole lesson. Raises `LessonError` where its text points to what the runs do not have."""
    return "\n".join(_lines(played))


def _lines(played: Played) -> Iterator[str]:
    lesson = played.lesson
    words = WORDS.get(lesson.language, WORDS["en"])
    yield f"# {lesson.title}\n\n{played.text(lesson.introduction)}"
    for stop in lesson.stops:
        yield from _stop(played, stop, words)
    comparison = played.comparison
    if comparison.diff:
        yield f"\n## {words['repair']}\n\n```diff"
        yield from (f"{line.sign} {line.text}".rstrip() for line in comparison.diff)
        yield "```\n"
    for run, findings in comparison.findings.items():
        named = ", ".join(f"{finding.code} {finding.name}" for finding in findings) or words["nothing"]
        yield f"- `{_script(played, run)}`: `optrace check` {words['found']}: {named}"
    for curve in comparison.curves:
        for run, points in curve.points.items():
            known = [point for point in points if point is not None]
            if known:
                yield f"- {curve.label}, `{_script(played, run)}`: {shown(known[0])} → {shown(known[-1])}"
    if lesson.conclusion is not None:
        yield f"\n{played.text(lesson.conclusion)}"


def _stop(played: Played, stop: Stop, words: dict[str, str]) -> Iterator[str]:
    event = played.traces[stop.run].events[played.seq(stop)]
    yield f"\n## {stop.title}\n"
    line = f", {event.site.file.rpartition('/')[2]}:{event.site.line}" if event.site is not None else ""
    yield f"`{event.position}` {event.kind}{line}\n"
    if stop.question is not None:
        yield f"{words['question']}: {played.text(stop.question.text, stop)}\n"
        choices = played.choices(stop)
        yield from (f"{number}. {text}" for number, (text, _) in enumerate(choices, 1))
        right = next((text for text, right in choices if right), None)
        yield ("\n" if choices else "") + f"{words['answer']}: {right if choices else shown(played.answer(stop))}\n"
    yield played.text(stop.text, stop)
    for claim in played.untrue(stop):
        yield f"\n{words['untrue']}: `{claim.text}`"


def _script(played: Played, run: Run) -> str:
    script = played.lesson.script if run == "script" else played.lesson.repaired
    return script.name if script is not None else run
