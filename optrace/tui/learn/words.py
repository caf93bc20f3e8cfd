"""What the screens of the lessons say themselves, in English and in Simplified Chinese."""

from __future__ import annotations

_TABLE: dict[str, tuple[str, str]] = {
    # The list
    "motto": ("Learn the loop by breaking it", "把循环弄坏，从中学会它"),
    "finished": ("{done} of {all} finished", "已完成 {done}/{all}"),
    "right answers": ("{right} of {asked} right", "答对 {right}/{asked}"),
    "filter": ("Filter", "筛选"),
    "nothing matches": ("No lesson matches “{text}”. Esc shows them all.", "没有符合“{text}”的课。Esc 显示全部。"),
    "a stop": ("1 stop", "1 站"),
    "stops": ("{count} stops", "{count} 站"),
    "no questions": ("no questions", "没有问题"),
    "a question": ("1 question", "1 个问题"),
    "questions": ("{count} questions", "{count} 个问题"),
    "teaches": ("optrace reports {codes}", "optrace 报告 {codes}"),
    "key choose": ("choose", "选择"),
    "key start": ("start", "开始"),
    "key filter": ("filter", "筛选"),
    "key language": ("中文", "English"),
    "key theme": ("dark/light", "深色/浅色"),
    "key quit": ("quit", "退出"),
    # Running
    "running title": ("Running the scripts under the recorder", "正在记录器下运行脚本"),
    "waiting": ("starting Python and torch", "正在启动 Python 和 torch"),
    "an event": ("1 event", "1 个事件"),
    "events": ("{count} events", "{count} 个事件"),
    "recorded": ("recorded", "已记录"),
    "recording": ("recording", "正在记录"),
    "ended with": ("ended with exit code {code}", "以退出码 {code} 结束"),
    "it printed": ("The last lines it printed:", "最后输出的几行："),
    "it printed nothing": ("It printed nothing.", "没有任何输出。"),
    "crashed": (
        "What was recorded up to there can be looked at.",
        "到那里为止的记录仍然可以查看。",
    ),
    "not possible": ("The lesson cannot be opened.", "这一课打不开。"),
    "key ok": ("ok", "确定"),
    "key cancel": ("cancel", "取消"),
    "key open anyway": ("open the lesson anyway", "仍然打开这一课"),
    "key close": ("close", "关闭"),
    # The lesson
    "introduction": ("introduction", "引言"),
    "stop of": ("stop {number} of {all}", "第 {number} 站，共 {all} 站"),
    "asked": ("a question", "提问"),
    "away": ("away from stop {number}: ⏎ back", "离开了第 {number} 站：⏎ 返回"),
    "away first": ("away from the beginning: ⏎ back", "离开了开头：⏎ 返回"),
    "question": ("Question", "问题"),
    "answer": ("Your answer", "你的答案"),
    "type a number": ("Type a number and press ⏎. s shows the answer.", "输入一个数，按 ⏎。按 s 直接看答案。"),
    "choose one": ("A number or ↑ ↓ ⏎ answers. s shows the answer.", "按数字键，或 ↑ ↓ ⏎ 作答。按 s 直接看答案。"),
    "not a number": ("“{said}” is not a number that I can read.", "读不懂“{said}”，请输入一个数。"),
    "right": ("Right: {recorded}.", "对：{recorded}。"),
    "wrong": ("You said {said}; recorded: {recorded}.", "你答的是 {said}；记录的是 {recorded}。"),
    "skipped": ("Recorded: {recorded}.", "记录的是 {recorded}。"),
    "untrue": (
        "The text does not fit this run: {claim} is not true here.",
        "文字与这次运行不符：{claim} 在这里不成立。",
    ),
    "lesson is wrong": ("The lesson is wrong here: {error}", "这一课在这里有错：{error}"),
    "beginning": ("This is the beginning of the lesson.", "这是这一课的开头。"),
    "other run": ("Now in {script}, at {position}.", "现在看 {script}，位置 {position}。"),
    "no such position": (
        "{script} has no {wanted}: now at {position}.",
        "{script} 没有 {wanted}：现在在 {position}。",
    ),
    "one run": ("This lesson has only one script.", "这一课只有一个脚本。"),
    "printed by": ("Printed by {script}", "{script} 的输出"),
    "key next": ("next", "下一站"),
    "key back": ("back", "上一站"),
    "key skip": ("show answer", "看答案"),
    "key event": ("event", "事件"),
    "key iteration": ("iteration", "迭代"),
    "key tabs": ("tabs", "标签页"),
    "key turn": ("next", "下一个"),
    "key pane": ("pane", "窗格"),
    "key other run": ("other run", "另一次运行"),
    "key printed": ("printed", "输出"),
    "key help": ("help", "帮助"),
    "key list": ("lessons", "课程表"),
    "pane source": ("Source", "源码"),
    "pane table": ("Parameters", "参数"),
    "pane story": ("What happened", "发生了什么"),
    "pane inspector": ("Inspector", "检视"),
    "help title": ("In a lesson", "在课里"),
    "help next": (
        "next stop; after wandering, back to the stop; answers a question",
        "下一站；走开之后回到这一站；提交答案",
    ),
    "help back": ("previous stop", "上一站"),
    "help skip": ("show the answer without giving one", "不作答，直接看答案"),
    "help other run": ("the other script's run, at the same position", "另一个脚本的运行，同一位置"),
    "help printed": ("what the script printed", "脚本的输出"),
    "help page": ("scroll the lesson's text", "滚动课文"),
    "help list": ("back to the list of lessons", "回到课程表"),
    # The comparison
    "comparison": ("The two runs", "两次运行的对比"),
    "one run only": ("The run", "这次运行"),
    "comparing": ("comparing …", "正在比较 …"),
    "repair": ("The repair", "修改之处"),
    "findings": ("What optrace check says", "optrace check 的结论"),
    "no findings": ("no findings", "没有发现问题"),
    "curves": ("Both runs", "两次运行"),
    "conclusion": ("In short", "小结"),
    "nothing to draw": ("This lesson draws no curves.", "这一课没有曲线。"),
    "no repair": ("This lesson has no repaired script.", "这一课没有修好的脚本。"),
    "your answers": ("Your answers", "你的答案"),
    "key next lesson": ("next: {title}", "下一课：{title}"),
    "key last stop": ("back to the last stop", "回到最后一站"),
    "key log": ("linear/log", "线性/对数"),
    "key scroll": ("scroll", "滚动"),
}


_NAMES = (("⏎", "Enter"), ("⌫", "Backspace"), ("↑ ↓", "Up Down"), ("← →", "Left Right"), ("…", "..."))


class Words:
    """The words of one language: Chinese for any `zh`, English for any other."""

    def __init__(self, language: str, poor: bool = False) -> None:
        """A `poor` terminal shows no signs for keys; there they are called by their names."""
        self._column = 1 if language.lower().startswith("zh") else 0
        self.poor = poor

    def __call__(self, key: str, **values: object) -> str:
        return self.sign(_TABLE[key][self._column].format(**values))

    def sign(self, keys: str) -> str:
        """A text with signs for keys, as this terminal can show it."""
        if self.poor:
            for sign, name in _NAMES:
                keys = keys.replace(sign, name)
        return keys

    def count(self, number: int, one: str, many: str, none: str = "") -> str:
        """`1 event`, `3 events`; for none of it, `none` where that is given."""
        if number == 0 and none:
            return self(none)
        return self(one) if number == 1 else self(many, count=number)
