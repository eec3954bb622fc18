"""What faces do, in words: facial actions as phrases, and the published prompt bank of the expressions.

In: FACS action units ("12", or one-sided "12L" / "12R": the subject's left and right) or expression names. Out: English
and Japanese text. The words for actions never name an emotion, so a caption made of them is no label. The prompt bank
describes each expression by the same phrases ("actions") and, apart from that, by its name ("names").

Source: Ekman & Friesen, Facial Action Coding System, and its emotion prototypes (EMFACS); the choice of variants is
ours.
"""

import random
import re
from collections.abc import Iterable, Mapping

BASIC_EXPRESSIONS = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise")
EXPRESSIONS = (*BASIC_EXPRESSIONS, "contempt")
LANGUAGES = ("en", "ja")
KINDS = ("actions", "names")

# Several wordings per action unit, the canonical one first. No commas: a comma separates actions.
_BILATERAL: dict[str, dict[str, tuple[str, ...]]] = {
    "1": {
        "en": ("inner brows raised", "inner corners of the eyebrows lifted", "inner eyebrows pulled up"),
        "ja": ("眉の内側が上がっている", "眉頭が持ち上がっている", "眉頭を上げている"),
    },
    "2": {
        "en": ("outer brows raised", "outer ends of the eyebrows lifted", "outer eyebrows pulled up"),
        "ja": ("眉の外側が上がっている", "眉尻が持ち上がっている", "眉尻を上げている"),
    },
    "4": {
        "en": ("brows lowered", "eyebrows drawn down and together", "furrowed brow"),
        "ja": ("眉が下がり寄っている", "眉をひそめている", "眉間にしわが寄っている"),
    },
    "5": {
        "en": ("upper eyelids raised", "eyes opened wide", "wide open eyes"),
        "ja": ("上まぶたが上がっている", "目を大きく見開いている", "目が見開かれている"),
    },
    "6": {
        "en": ("cheeks raised", "cheeks lifted towards the eyes", "cheeks pushed up"),
        "ja": ("頬が上がっている", "頬が目の方へ持ち上がっている", "頬を押し上げている"),
    },
    "7": {
        "en": ("eyelids tightened", "narrowed eyes", "lower eyelids tensed"),
        "ja": ("まぶたに力が入っている", "目を細めている", "下まぶたが緊張している"),
    },
    "9": {
        "en": ("nose wrinkled", "wrinkles across the bridge of the nose", "scrunched nose"),
        "ja": ("鼻にしわが寄っている", "鼻筋にしわを寄せている", "鼻をしかめている"),
    },
    "10": {
        "en": ("upper lip raised", "upper lip lifted", "upper lip pulled up"),
        "ja": ("上唇が上がっている", "上唇が持ち上がっている", "上唇を引き上げている"),
    },
    "12": {
        "en": ("lip corners pulled up", "corners of the mouth lifted", "smiling mouth"),
        "ja": ("口角が上がっている", "口の端が引き上げられている", "口元がほころんでいる"),
    },
    "14": {
        "en": ("lip corners tucked inwards", "dimples beside the mouth", "dimpled cheeks"),
        "ja": ("口角が内側に引き締まっている", "口元にえくぼができている", "頬にえくぼがある"),
    },
    "15": {
        "en": ("lip corners pulled down", "corners of the mouth turned down", "mouth corners drawn downwards"),
        "ja": ("口角が下がっている", "口の端が引き下げられている", "口がへの字に曲がっている"),
    },
    "16": {
        "en": ("lower lip pulled down", "lower lip drawn down", "lower lip lowered"),
        "ja": ("下唇が下がっている", "下唇が引き下げられている", "下唇を下げている"),
    },
    "17": {
        "en": ("chin raised", "lower lip pushed up by the chin", "chin bunched upwards"),
        "ja": ("顎の先が上がっている", "顎が下唇を押し上げている", "顎にしわが寄っている"),
    },
    "18": {
        "en": ("lips puckered", "puckered mouth", "lips drawn together and forward"),
        "ja": ("唇をすぼめている", "口がすぼまっている", "唇を前に寄せて突き出している"),
    },
    "20": {
        "en": ("lips stretched sideways", "mouth stretched wide", "lip corners pulled back"),
        "ja": ("唇が横に伸びている", "口が横に引き伸ばされている", "口角が後ろに引かれている"),
    },
    "22": {
        "en": ("lips funneled", "lips pushed forward into a funnel", "lips rounded outwards"),
        "ja": ("唇が漏斗の形に開いている", "唇が丸く前に出ている", "唇を外へ丸めている"),
    },
    "23": {
        "en": ("lips tightened", "tight lips", "lips narrowed and tensed"),
        "ja": ("唇が引き締まっている", "唇を固くしている", "唇が細く緊張している"),
    },
    "24": {
        "en": ("lips pressed together", "pressed lips", "mouth pressed shut"),
        "ja": ("唇を押し合わせている", "唇がきつく合わさっている", "口を固く結んでいる"),
    },
    "25": {
        "en": ("lips parted", "lips slightly apart", "slightly open mouth"),
        "ja": ("唇が開いている", "唇がわずかに離れている", "口が少し開いている"),
    },
    "26": {
        "en": ("jaw dropped", "jaw lowered", "open mouth with the jaw hanging"),
        "ja": ("顎が下がっている", "顎が落ちている", "顎が下がり口が開いている"),
    },
    "27": {
        "en": ("mouth stretched open", "mouth wide open", "jaw pulled far down"),
        "ja": ("口が縦に大きく開いている", "口を大きく開けている", "顎が大きく引き下げられている"),
    },
    "28": {
        "en": ("lips sucked in", "lips rolled inwards", "lips folded over the teeth"),
        "ja": ("唇を吸い込んでいる", "唇を内側に巻き込んでいる", "唇が歯を覆っている"),
    },
    "30": {
        "en": ("jaw moved sideways", "jaw shifted to one side"),
        "ja": ("顎が横にずれている", "顎を片側に動かしている"),
    },
    "33": {
        "en": ("cheeks puffed", "cheeks blown out", "cheeks filled with air"),
        "ja": ("頬を膨らませている", "頬が膨らんでいる", "頬に空気をためている"),
    },
    "45": {
        "en": ("eyes closed", "eyelids shut", "closed eyes"),
        "ja": ("目を閉じている", "まぶたが閉じている", "目をつぶっている"),
    },
    "64": {
        "en": ("eyes looking down", "gaze lowered", "looking downwards"),
        "ja": ("視線が下を向いている", "目を伏せている", "下を見ている"),
    },
}

_ONE_SIDED = {
    "2": {
        "en": ("{side} outer brow raised", "outer end of the {side} eyebrow lifted"),
        "ja": ("{side}眉の外側が上がっている", "{side}の眉尻を上げている"),
    },
    "4": {
        "en": ("{side} brow lowered", "{side} eyebrow drawn down"),
        "ja": ("{side}眉が下がっている", "{side}の眉を寄せている"),
    },
    "5": {
        "en": ("{side} upper eyelid raised", "{side} eye opened wide"),
        "ja": ("{side}の上まぶたが上がっている", "{side}目を大きく見開いている"),
    },
    "6": {
        "en": ("{side} cheek raised", "{side} cheek pushed up"),
        "ja": ("{side}の頬が上がっている", "{side}頬を押し上げている"),
    },
    "7": {
        "en": ("{side} eyelids tightened", "narrowed {side} eye"),
        "ja": ("{side}のまぶたに力が入っている", "{side}目を細めている"),
    },
    "9": {
        "en": ("{side} side of the nose wrinkled", "nose scrunched on the {side}"),
        "ja": ("鼻の{side}側にしわが寄っている", "鼻の{side}側をしかめている"),
    },
    "10": {
        "en": ("{side} upper lip raised", "upper lip lifted on the {side}"),
        "ja": ("{side}の上唇が上がっている", "上唇の{side}側を引き上げている"),
    },
    "12": {
        "en": ("{side} lip corner pulled up", "{side} corner of the mouth lifted"),
        "ja": ("{side}の口角が上がっている", "口の{side}端が引き上げられている"),
    },
    "14": {
        "en": ("{side} lip corner tucked inwards", "dimple on the {side} of the mouth"),
        "ja": ("{side}の口角が内側に引き締まっている", "口の{side}側にえくぼができている"),
    },
    "15": {
        "en": ("{side} lip corner pulled down", "{side} corner of the mouth turned down"),
        "ja": ("{side}の口角が下がっている", "口の{side}端が引き下げられている"),
    },
    "16": {
        "en": ("lower lip pulled down on the {side}", "{side} lower lip drawn down"),
        "ja": ("下唇の{side}側が下がっている", "{side}の下唇が引き下げられている"),
    },
    "20": {
        "en": ("lips stretched to the {side}", "{side} lip corner pulled back"),
        "ja": ("唇が{side}に伸びている", "{side}の口角が後ろに引かれている"),
    },
    "24": {
        "en": ("lips pressed together on the {side}", "{side} half of the mouth pressed shut"),
        "ja": ("唇の{side}側を押し合わせている", "口の{side}半分を固く結んでいる"),
    },
    "30": {
        "en": ("jaw moved to the {side}", "jaw shifted {side}"),
        "ja": ("顎が{side}にずれている", "顎を{side}へ動かしている"),
    },
    "45": {
        "en": ("{side} eye closed", "{side} eyelid shut"),
        "ja": ("{side}目を閉じている", "{side}のまぶたが閉じている"),
    },
}
SIDED_ACTIONS = tuple(_ONE_SIDED)
_SIDE_WORDS = {"L": {"en": "left", "ja": "左"}, "R": {"en": "right", "ja": "右"}}

ACTION_PHRASES: dict[str, dict[str, tuple[str, ...]]] = _BILATERAL | {
    unit + side: {lang: tuple(text.format(side=words[lang]) for text in texts) for lang, texts in forms.items()}
    for unit, forms in _ONE_SIDED.items()
    for side, words in _SIDE_WORDS.items()
}
RELAXED_PHRASES: dict[str, tuple[str, ...]] = {
    "en": ("a relaxed face", "a face at rest", "no visible facial movement"),
    "ja": ("力の抜けた顔", "動きのない顔", "顔に目立った動きがない"),
}
_SEPARATOR = {"en": ", ", "ja": "、"}
_ORDER = {unit: i for i, unit in enumerate(sorted(ACTION_PHRASES, key=lambda u: (int(u.rstrip("LR")), u)))}

# The published bank: which action units an expression shows, several variants each.
_CONTEMPT = (("12", "14"), ("14",), ("10", "14"))
ACTION_BANK: dict[str, tuple[tuple[str, ...], ...]] = {
    "neutral": ((), ("45",), ("25",), ("24",), ("64",)),
    "anger": (
        ("4", "5", "7", "23"),
        ("4", "7", "17", "24"),
        ("4", "5", "7", "10", "25", "26"),
        ("4", "7", "22", "23", "25"),
    ),
    "disgust": (("9", "10", "17"), ("4", "10", "17"), ("9", "16", "25", "26"), ("4", "7", "9", "15")),
    "fear": (("1", "2", "4", "5", "20", "25"), ("1", "2", "4", "5", "26"), ("1", "4", "20", "25"), ("5", "20")),
    "happiness": (("6", "12", "25"), ("12",), ("6", "12", "25", "26"), ("6", "7", "12")),
    "sadness": (("1", "4", "15"), ("1", "4", "17"), ("1", "4", "15", "17"), ("6", "15", "64")),
    "surprise": (("1", "2", "5", "26"), ("1", "2", "5", "27"), ("1", "2", "25"), ("5", "26")),
    "contempt": tuple(tuple(unit + side for unit in units) for units in _CONTEMPT for side in "LR"),
}

_NAME_WORDS = {  # English adjective and noun; Japanese adjective phrase and noun
    "neutral": (("neutral", "neutrality"), ("無表情な", "無表情")),
    "anger": (("angry", "anger"), ("怒った", "怒り")),
    "disgust": (("disgusted", "disgust"), ("嫌そうな", "嫌悪")),
    "fear": (("fearful", "fear"), ("怯えた", "恐怖")),
    "happiness": (("happy", "happiness"), ("嬉しそうな", "喜び")),
    "sadness": (("sad", "sadness"), ("悲しそうな", "悲しみ")),
    "surprise": (("surprised", "surprise"), ("驚いた", "驚き")),
    "contempt": (("contemptuous", "contempt"), ("見下したような", "軽蔑")),
}
_ALIASES = {word: name for name, forms in _NAME_WORDS.items() for pair in forms for word in pair} | {
    "joy": "happiness", "joyful": "happiness", "afraid": "fear", "scared": "fear", "sorrow": "sadness",
    "悲しい": "sadness", "嬉しい": "happiness", "幸せ": "happiness", "恐れ": "fear", "真顔": "neutral",
}  # fmt: skip

_EMOTION_WORDS = re.compile(
    r"\b(neutral\w*|ang(?:er|ry)\w*|rage|disgust\w*|fear\w*|afraid|scared?|terrif\w*|happ(?:y|i)\w*|joy\w*|sad\w*|"
    r"sorrow\w*|surpris\w*|contempt\w*|emotion\w*)\b|怒|嫌悪|嫌そう|恐怖|恐れ|怯え|喜び|喜ん|嬉し|幸せ|悲し|驚|軽蔑|見下し|無表情|真顔|感情",
    re.IGNORECASE,
)


def find_expression(word: str) -> str | None:
    """The expression that a word names ("happiness", "Happy", "喜び"), or None."""
    key = word.strip().lower()
    key = _ALIASES.get(key, key)
    return key if key in EXPRESSIONS else None


def _check_language(language: str) -> None:
    if language not in LANGUAGES:
        raise ValueError(f"unknown language {language!r}; expected one of {', '.join(LANGUAGES)}")


def action_order(unit: str) -> int:
    """Place of an action unit in the canonical order (by number, then side).

    Raises:
        ValueError: for a unit that has no phrase.
    """
    if unit not in _ORDER:
        raise ValueError(f"unknown action unit {unit!r}; expected one of {', '.join(_ORDER)}")
    return _ORDER[unit]


def describe_actions(
    action_units: Mapping[str, float] | Iterable[str], *, language: str = "en", wording: int | random.Random = 0
) -> str:
    """Say what a face does: one phrase per action, joined by commas; the emotion is never named.

    Args:
        action_units: action units ("12", "12L"), as a mapping to intensities or as plain names. All are mentioned.
        language: "en" or "ja".
        wording: which wording of every phrase (0 is canonical, larger numbers wrap around), in canonical order; or a
            `random.Random`, which draws wordings and order.
    Returns:
        `str`: e.g. "cheeks raised, lip corners pulled up"; without any action "a relaxed face".
    Raises:
        ValueError: for an unknown unit or language.
    """
    _check_language(language)
    units = sorted(action_units, key=action_order)
    groups = [ACTION_PHRASES[unit][language] for unit in units] or [RELAXED_PHRASES[language]]
    if not isinstance(wording, random.Random):
        phrases = [group[wording % len(group)] for group in groups]
    else:
        phrases = [wording.choice(group) for group in groups]
        wording.shuffle(phrases)
    return _SEPARATOR[language].join(phrases)


def _action_prompts(expression: str, language: str, wordings: int | None = None) -> list[str]:
    """All variants, in that many numbered wordings, or in enough that every wording of every phrase occurs."""
    prompts = []
    for units in ACTION_BANK[expression]:
        groups = [ACTION_PHRASES[unit][language] for unit in units] or [RELAXED_PHRASES[language]]
        numbers = range(wordings or max(map(len, groups)))
        prompts += [describe_actions(units, language=language, wording=i) for i in numbers]
    return list(dict.fromkeys(prompts))


def _few_wordings(expression: str, wordings: int) -> dict[str, list[str]]:
    if wordings < 1:
        raise ValueError(f"expected at least one wording, got {wordings}")
    return {language: _action_prompts(expression, language, wordings) for language in LANGUAGES}


def _name_prompts(expression: str, language: str) -> list[str]:
    (adjective, noun), (ja_adjective, ja_noun) = _NAME_WORDS[expression]
    if language == "ja":
        return [f"{ja_adjective}顔", f"{ja_adjective}人", f"{ja_adjective}表情", f"{ja_noun}の表情"]
    article = "an" if adjective[0] in "aeiou" else "a"
    return [
        f"{article} {adjective} face",
        f"a person who is {adjective}",
        f"{article} {adjective} facial expression",
        f"a face showing {noun}",
    ]


PROMPTS: dict[str, dict[str, dict[str, list[str]]]] = {
    expression: {
        "actions": {language: _action_prompts(expression, language) for language in LANGUAGES},
        "names": {language: _name_prompts(expression, language) for language in LANGUAGES},
    }
    for expression in EXPRESSIONS
}


def prompts_for(
    labels: Iterable[str], *, kinds: Iterable[str] = KINDS, language: str = "en", wordings: int | None = None
) -> dict[str, list[str]]:
    """The prompts of each label, for zero-shot classification by prompt ensembles.

    Args:
        labels: expression names ("happiness", also "happy" or "喜び"), or any other text, which becomes prompts itself.
        kinds: "actions" (what the face does), "names" (what it is called), or both.
        language: "en" or "ja".
        wordings: how many wordings of the actions, the canonical one first; default all. A model that learnt from one wording
            alone understands no other.
    Returns:
        `dict[str, list[str]]`: label -> prompts, in the order of the labels.
    Raises:
        ValueError: for an unknown kind or language, an empty label, or no labels.
    """
    _check_language(language)
    labels, kinds = ([labels] if isinstance(labels, str) else list(labels)), list(kinds)
    if not kinds or any(kind not in KINDS for kind in kinds):
        raise ValueError(f"unknown prompt kinds {kinds!r}; expected some of {', '.join(KINDS)}")
    if not labels or any(not isinstance(label, str) or not label.strip() for label in labels):
        raise ValueError(f"expected at least one label, each a text that is not empty, got {labels!r}")
    bank = {}
    for label in labels:
        key = label.strip().lower()
        key = _ALIASES.get(key, key)
        if key in PROMPTS:
            known = PROMPTS[key] if wordings is None else PROMPTS[key] | {"actions": _few_wordings(key, wordings)}
            bank[label] = [prompt for kind in kinds for prompt in known[kind][language]]
        elif language == "ja":
            bank[label] = [label, f"{label}の顔", f"{label}の表情"]
        else:
            bank[label] = [label, f"a face with {label}", f"a person with {label}"]
    return bank


_SIDES = re.compile(r"左右|左|右|\b(?:left|right)\b", re.IGNORECASE)
_SWAPPED = {"left": "right", "right": "left", "左": "右", "右": "左", "左右": "左右"}


def swap_sides(text: str) -> str:
    """Exchange left and right (左 and 右) in a text, as mirroring a picture does. Twice is the identity."""

    def exchange(match: re.Match) -> str:
        word = match.group()
        swapped = _SWAPPED[word.lower()]
        if word.isupper():
            return swapped.upper()
        return swapped.capitalize() if word[0].isupper() else swapped

    return _SIDES.sub(exchange, text)


def named_emotion(text: str) -> str | None:
    """The first emotion word in a text, or None: captions that describe actions must have none."""
    match = _EMOTION_WORDS.search(text)
    return match.group() if match else None
