"""The keys of the main screen, each with the action it stands for and its name in the command palette."""

from __future__ import annotations

from textual.binding import Binding

KEYS: list[Binding] = [
    Binding("left,h", "event(-1)", "Event back"),
    Binding("right,l", "event(1)", "Event on"),
    Binding("left_square_bracket", "iteration(-1)", "Iteration back"),
    Binding("right_square_bracket", "iteration(1)", "Iteration on"),
    Binding("home", "edge(False)", "First event"),
    Binding("end,G", "edge(True)", "Last event, follow"),
    Binding("n", "finding(True)", "Next finding"),
    Binding("N", "finding(False)", "Previous finding"),
    Binding("w", "write(True)", "Next write of this value"),
    Binding("W", "write(False)", "Previous write of this value"),
    Binding("c", "run(True)", "Run on to condition"),
    Binding("C", "run(False)", "Run back to condition"),
    Binding("b", "conditions", "Conditions"),
    Binding("g,colon", "go_to", "Go to"),
    Binding("m", "mark", "Set mark"),
    Binding("d", "compare", "Compare mark with here"),
    Binding("r", "process(1)", "Next process of the run"),
    Binding("R", "process(-1)", "Previous process of the run"),
    Binding("a", "side_by_side", "All processes side by side"),
    Binding("apostrophe", "back", "Back to where I was"),
    Binding("space", "play", "Play"),
    Binding("plus,equals_sign", "speed(2)", "Play faster"),
    Binding("minus", "speed(0.5)", "Play slower"),
    Binding("s", "picture", "Save a picture"),
    Binding("f", "findings", "Findings"),
    Binding("question_mark,f1", "help", "Help"),
    Binding("slash", "filter", "Filter parameters"),
    Binding("o", "sort", "Sort parameters"),
    Binding("down,j", "row(1)", "Next parameter"),
    Binding("up,k", "row(-1)", "Previous parameter"),
    Binding("pagedown", "page(1)", "Page of parameters down"),
    Binding("pageup", "page(-1)", "Page of parameters up"),
    *[
        Binding(str(number), f"tab({name!r})", f"{name.title()} tab")
        for number, name in enumerate(("gradient", "update", "state", "values", "history"), 1)
    ],
    Binding("tab", "turn_pane(1)", "Next tab or pane", priority=True),
    Binding("shift+tab", "turn_pane(-1)", "Previous tab or pane", priority=True),
    Binding("v", "turn_kind(1)", "Next value of the parameter"),
    Binding("V", "turn_kind(-1)", "Previous value of the parameter"),
    Binding("x", "look_on", "Heat map, numbers, histogram; statistic"),
    Binding("y", "log", "Linear or log axis"),
    Binding("H,shift+left", "element(0, -1)", "Element left"),
    Binding("L,shift+right", "element(0, 1)", "Element right"),
    Binding("K,shift+up", "element(-1, 0)", "Element up"),
    Binding("J,shift+down", "element(1, 0)", "Element down"),
    Binding("comma", "slice(-1)", "Previous slice"),
    Binding("full_stop", "slice(1)", "Next slice"),
    Binding("ctrl+down", "scroll_inspector(1)", "Scroll the inspector down"),
    Binding("ctrl+up", "scroll_inspector(-1)", "Scroll the inspector up"),
    Binding("less_than_sign", "slide(-8)", "Source left"),
    Binding("greater_than_sign", "slide(8)", "Source right"),
    Binding("t", "theme", "Dark or light"),
    Binding("escape", "escape", "Stop, clear"),
    Binding("q", "app.quit", "Quit"),
]

_SIGNS = {
    "left": "←", "right": "→", "up": "↑", "down": "↓", "left_square_bracket": "[", "right_square_bracket": "]",
    "apostrophe": "'", "question_mark": "?", "slash": "/", "comma": ",", "full_stop": ".", "plus": "+", "minus": "−",
    "less_than_sign": "<", "greater_than_sign": ">", "space": "Space", "escape": "Esc", "home": "Home", "end": "End",
    "pagedown": "PgDn", "pageup": "PgUp", "tab": "Tab", "shift+tab": "Shift+Tab", "ctrl+down": "Ctrl+↓",
    "ctrl+up": "Ctrl+↑", "colon": ":", "equals_sign": "=",
}  # fmt: skip


def signs(binding: Binding) -> list[str]:
    """A binding's keys as they stand on the keyboard."""
    return [_SIGNS.get(key, key) for key in binding.key.split(",")]


def sign(binding: Binding) -> str:
    """The first of them."""
    return signs(binding)[0]
