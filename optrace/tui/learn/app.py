"""The app of `optrace learn`: the list, the runs, the lesson, the comparison, and the ways between them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textual import on

from optrace.errors import OptraceError
from optrace.lessons.course import course
from optrace.lessons.model import Lesson, Run
from optrace.tui.base import BaseApp
from optrace.tui.core.session import Session
from optrace.tui.learn.comparison import ComparisonScreen, Next, Place
from optrace.tui.learn.course import CourseScreen, Finished
from optrace.tui.learn.guide import Guide
from optrace.tui.learn.lesson import LessonScreen
from optrace.tui.learn.running import Outcome, RunningScreen
from optrace.tui.learn.runs import Runs
from optrace.tui.learn.words import Words


@dataclass
class Open:
    """The lesson that is open: where one is in it, and the screen of each run that has been looked at."""

    guide: Guide
    runs: Runs
    words: Words
    screens: dict[Run, LessonScreen] = field(default_factory=dict)


class LearnApp(BaseApp):
    """Lessons of a course, or a single one."""

    def __init__(
        self, place: Path, languages: list[str], language: str, folder: Path, first: str = "", **settings: Any
    ) -> None:
        """The lessons at `place`; `first` is the name of the one to begin with. Runs are recorded in `folder`."""
        super().__init__(**settings)
        self.place, self.languages, self.language = place, languages, language
        self.lessons = course(place, language)
        self.finished: dict[str, Finished] = {}
        self.open: Open | None = None
        self._folder, self._count = folder, 0
        self._first = next((lesson for lesson in self.lessons if lesson.name == first), None)
        self._to_close = ExitStack()
        self.course: CourseScreen | None = None
        if len(self.lessons) > 1:
            self.course = CourseScreen(self.lessons, self.finished, Words(language, self.ascii_only), len(languages))
        else:
            self._first = self.lessons[0]

    async def on_mount(self) -> None:
        if self.course is not None:
            await self.push_screen(self.course)
        if self._first is not None:
            self.run_lesson(self._first)

    def close(self) -> None:
        """Let go of all traces. After the app has run."""
        self._to_close.close()

    # The list

    @on(CourseScreen.Chosen)
    def _chosen(self, message: CourseScreen.Chosen) -> None:
        self.run_lesson(message.lesson)

    @on(CourseScreen.OtherLanguage)
    def _other_language(self) -> None:
        place = self.languages.index(self.language) if self.language in self.languages else -1
        language = self.languages[(place + 1) % len(self.languages)]
        try:
            lessons = course(self.place, language)
        except OptraceError as error:
            self._tell(error)
            return
        self.language, self.lessons = language, lessons
        if self.course is not None:
            self.course.show_lessons(lessons, Words(language, self.ascii_only))

    # Running

    def run_lesson(self, lesson: Lesson) -> None:
        """Run a lesson's scripts, then open it."""
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        words = Words(lesson.language, self.ascii_only)
        runs = Runs(lesson, folder, lambda: self.call_later_from_thread(screen.ended))
        screen = RunningScreen(lesson, runs, words)
        self._to_close.callback(runs.stop)

        def ran(outcome: Outcome | None) -> None:
            if outcome == "open":
                self.open_lesson(runs, words)
            else:
                self._leave()

        if self.course is not None:
            self.course.choose(lesson.name)
        self.push_screen(screen, ran)

    def open_lesson(self, runs: Runs, words: Words) -> None:
        """Open a lesson whose scripts have been run."""
        try:
            played = runs.play()
        except OptraceError as error:
            self._leave()
            self._tell(error)
            return
        self.open = Open(Guide(played), runs, words)
        screen = self._screen(self.open, "script")
        self.push_screen(screen)
        screen.call_after_refresh(screen.arrive)

    # The lesson

    def _screen(self, opened: Open, run: Run) -> LessonScreen:
        """The screen of a run, made when it is first looked at; kept while the lesson is open."""
        if run not in opened.screens:
            session = Session(opened.guide.played.traces[run], self._computed)
            self._to_close.callback(session.close)
            screen = LessonScreen(session, opened.guide, run, opened.runs, opened.words, self.visit, self.compare)
            self.install_screen(screen, f"{run}-{self._count}")
            opened.screens[run] = screen
        return opened.screens[run]

    async def visit(self, run: Run) -> LessonScreen | None:
        """Bring the screen of a run to the front; None where there is no such run."""
        if self.open is None or run not in self.open.guide.played.traces:
            return None
        screen = self._screen(self.open, run)
        if self.screen is not screen:
            await self.switch_screen(screen)
        return screen

    def _computed(self) -> None:
        for screen in self.open.screens.values() if self.open is not None else ():
            self.call_later_from_thread(screen.redraw)

    def compare(self) -> None:
        """The end of the lesson."""
        opened = self.open
        assert opened is not None
        guide = opened.guide
        self.finished[guide.lesson.name] = Finished(guide.right, guide.asked)
        following = self._following(guide.lesson)

        def done(where: Next | None) -> None:
            if isinstance(where, Place):
                self.call_later(self._look_at, where)
            elif where != "back":
                self.close_lesson()
                if where == "next" and following is not None:
                    self.run_lesson(following)
                else:
                    self._leave()

        screen = ComparisonScreen(guide, opened.runs, opened.words, following, self.course is not None)
        self.push_screen(screen, done)

    async def _look_at(self, place: Place) -> None:
        """The last event of an iteration of a run: that is where its curves have their points."""
        screen = await self.visit(place.run)
        if screen is not None:
            screen.session.cursor.jump(screen.session.trace.iterations.bounds(place.iteration)[1] - 1)
            screen.moved(True)

    def _following(self, lesson: Lesson) -> Lesson | None:
        names = [other.name for other in self.lessons]
        place = names.index(lesson.name) + 1
        return self.lessons[place] if place < len(self.lessons) else None

    # Leaving

    def action_leave_lesson(self) -> None:
        """Back to the list; out, where there is none."""
        self.close_lesson()
        self._leave()

    def close_lesson(self) -> None:
        """Take the lesson's screens away."""
        opened, self.open = self.open, None
        if opened is None:
            return
        for screen in opened.screens.values():
            if screen in self.screen_stack:
                self.pop_screen()
            self.uninstall_screen(screen)
            if screen.is_attached:
                self.call_later(screen.remove)

    def _leave(self) -> None:
        if self.course is None:
            self.exit()

    def _tell(self, error: OptraceError) -> None:
        """Say what did not work: in the list, or after the screen has gone."""
        if self.course is None:
            self.exit(message=str(error))
        else:
            self.course.tell(str(error).replace(f"{self.place}/", ""))
