"""Reading a lesson's text: Markdown with `lesson` and `stop` blocks (docs/lessons.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from optrace.lessons.block import Block
from optrace.lessons.errors import LessonError
from optrace.lessons.model import Choice, Lesson, Question, Run, Series, Source, Stop

TABS = ("gradient", "update", "state", "values", "history")
LESSON_KEYS = frozenset(
    {"script", "repaired", "finding", "compare", "summary", "chapter", "order", "arguments"}
)  # fmt: skip
STOP_KEYS = frozenset(
    {"at", "run", "show", "parameter", "value", "element", "ask", "answer", "tolerance", "choices", "claims"}
)
ENGLISH = "en"


def text_file(folder: Path, language: str) -> Path:
    """The text in a language, or else in English."""
    own = folder / f"lesson.{language}.md"
    return own if language != ENGLISH and own.is_file() else folder / "lesson.md"


def languages(folder: Path) -> list[str]:
    """The languages a lesson exists in."""
    others = sorted(path.name[len("lesson.") : -len(".md")] for path in folder.glob("lesson.*.md"))
    return [ENGLISH, *others]


def read_lesson(folder: Path, language: str = ENGLISH) -> Lesson:
    """A lesson by its folder. Raises `LessonError`, which names the line."""
    path = text_file(folder, language)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LessonError(f"not UTF-8 text (byte {error.start})", path) from None
    except OSError as error:
        raise LessonError(f"cannot be read: {error.strerror}", path) from None
    sections = list(_sections(path, text))
    if not sections or sections[0].level != 1:
        raise LessonError("a lesson starts with its title: # Title", path, 1)
    head, *rest = sections
    if head.kind != "lesson":
        raise LessonError("there is no ```lesson block under the title", path, head.line)
    stops = []
    conclusion: Source | None = None
    for section in rest:
        if section.kind == "stop":
            if conclusion is not None:
                raise LessonError("no stop may come after a heading without a ```stop block", path, section.line)
            stops.append(_stop(path, section))
        elif section.kind == "" and conclusion is None:
            conclusion = section.text
        else:
            raise LessonError("there is no ```stop block under this heading", path, section.line)
    if not stops:
        raise LessonError("the lesson has no stops: a heading ## … with a ```stop block", path, head.line)
    return _lesson(path, language if path.name != "lesson.md" else ENGLISH, head, tuple(stops), conclusion)


@dataclass(frozen=True)
class _Section:
    """A heading and what is under it: its block (kind `lesson`, `stop` or none) and the rest as text."""

    path: Path
    level: int
    title: str
    line: int
    kind: str
    block_text: str
    block_line: int
    text: Source

    def block(self, known: frozenset[str]) -> Block:
        return Block(self.path, self.block_text, self.block_line, known)


def _sections(path: Path, text: str) -> Iterator[_Section]:
    lines = text.splitlines()
    tokens = MarkdownIt("commonmark").parse(text)
    heads = [
        (token.map[0], int(token.tag[1]), tokens[place + 1].content)
        for place, token in enumerate(tokens)
        if token.type == "heading_open" and token.map and token.level == 0 and token.tag in ("h1", "h2")
    ]
    fences = [
        (token.map[0], token.map[1], token.info.strip(), token.content)
        for token in tokens
        if token.type == "fence" and token.map and token.info.strip() in ("lesson", "stop")
    ]
    for number, (start, level, title) in enumerate(heads):
        if (level == 1) != (number == 0):
            raise LessonError("a lesson has one title, # …, first of all", path, start + 1)
        stop = heads[number + 1][0] if number + 1 < len(heads) else len(lines)
        inside = [fence for fence in fences if start < fence[0] < stop]
        if len(inside) > 1:
            raise LessonError("a second block under one heading", path, inside[1][0] + 1)
        body = lines[start + 1 : stop]
        kind, block, block_line = "", "", start + 1
        if inside:
            first, last, kind, block = inside[0]
            block_line = first + 2
            body[first - start - 1 : last - start - 1] = [""] * (last - first)
            if kind != ("lesson" if level == 1 else "stop"):
                raise LessonError(f"a ```{kind} block under a heading of the other kind", path, first + 1)
        blank = next((place for place, line in enumerate(body) if line.strip()), len(body))
        content = Source("\n".join(body[blank:]).rstrip(), start + 2 + blank)
        yield _Section(path, level, title, start + 1, kind, block, block_line, content)


def _lesson(path: Path, language: str, head: _Section, stops: tuple[Stop, ...], conclusion: Source | None) -> Lesson:
    block = head.block(LESSON_KEYS)
    script = block.text("script")
    if script is None:
        raise LessonError('the lesson block names no script: script = "broken.py"', path, head.line)
    repaired = block.text("repaired")
    for source in (script, repaired):
        if source is not None and not (path.parent / source.text).is_file():
            raise LessonError(f"there is no script {source.text!r} in {path.parent}", path, source.line)
    if repaired is None:
        for stop in stops:
            if stop.run == "repaired":
                raise LessonError("the lesson block names no repaired script", path, stop.line)
    return Lesson(
        path=path,
        language=language,
        title=head.title,
        name=path.parent.resolve().name,
        summary=block.string("summary"),
        chapter=block.string("chapter"),
        order=block.number("order") or 0,
        script=path.parent / script.text,
        repaired=None if repaired is None else path.parent / repaired.text,
        arguments=tuple(source.text for source in block.texts("arguments")),
        findings=block.texts("finding"),
        compare=tuple(Series(label.text, expression) for label, expression in block.pairs("compare")),
        introduction=head.text,
        stops=stops,
        conclusion=conclusion,
    )


def _stop(path: Path, section: _Section) -> Stop:
    block = section.block(STOP_KEYS)
    at = block.text("at")
    if at is None:
        raise LessonError('the stop has no position: at = "1:0"', path, section.line)
    run: Run = "repaired" if block.one_of("run", ("script", "repaired")) == "repaired" else "script"
    parameter = block.text("parameter")
    for key in ("value", "element"):
        if key in block and parameter is None:
            raise block.error(key, f"{key} without a parameter")
    return Stop(
        title=section.title,
        line=section.line,
        run=run,
        at=at,
        show=block.one_of("show", TABS),
        parameter=parameter,
        value=block.text("value"),
        element=block.integers("element"),
        question=_question(block),
        claims=block.texts("claims"),
        text=section.text,
    )


def _question(block: Block) -> Question | None:
    ask, answer, choices = block.text("ask"), block.text("answer"), block.pairs("choices")
    tolerance = block.number("tolerance")
    if ask is None:
        for key in ("answer", "choices", "tolerance"):
            if key in block:
                raise block.error(key, f"{key} without a question: ask = …")
        return None
    if (answer is None) == (not choices):
        raise block.error("ask", "a question needs an answer to type or choices, one of the two")
    if choices and not 2 <= len(choices) <= 9:
        raise block.error("choices", f"{len(choices)} choices; a question has 2 to 9")
    return Question(ask, answer, tuple(Choice(text, holds) for text, holds in choices), tolerance)
