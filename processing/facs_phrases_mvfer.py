"""Facial actions as phrases: tables from FACS action units to several wordings in English and Japanese.

The words for actions never name an emotion, so a caption made of them is no label. No commas: a comma separates actions.

Source: Ekman & Friesen, Facial Action Coding System; the wordings are ours.
"""

# The canonical wording comes first.
_BILATERAL = {
    "en": {
        "1": ("inner brows raised", "inner corners of the eyebrows lifted", "inner eyebrows pulled up"),
        "2": ("outer brows raised", "outer ends of the eyebrows lifted", "outer eyebrows pulled up"),
        "4": ("brows lowered", "eyebrows drawn down and together", "furrowed brow"),
        "5": ("upper eyelids raised", "eyes opened wide", "wide open eyes"),
        "6": ("cheeks raised", "cheeks lifted towards the eyes", "cheeks pushed up"),
        "7": ("eyelids tightened", "narrowed eyes", "lower eyelids tensed"),
        "9": ("nose wrinkled", "wrinkles across the bridge of the nose", "scrunched nose"),
        "10": ("upper lip raised", "upper lip lifted", "upper lip pulled up"),
        "12": ("lip corners pulled up", "corners of the mouth lifted", "smiling mouth"),
        "14": ("lip corners tucked inwards", "dimples beside the mouth", "dimpled cheeks"),
        "15": ("lip corners pulled down", "corners of the mouth turned down", "mouth corners drawn downwards"),
        "16": ("lower lip pulled down", "lower lip drawn down", "lower lip lowered"),
        "17": ("chin raised", "lower lip pushed up by the chin", "chin bunched upwards"),
        "18": ("lips puckered", "puckered mouth", "lips drawn together and forward"),
        "20": ("lips stretched sideways", "mouth stretched wide", "lip corners pulled back"),
        "22": ("lips funneled", "lips pushed forward into a funnel", "lips rounded outwards"),
        "23": ("lips tightened", "tight lips", "lips narrowed and tensed"),
        "24": ("lips pressed together", "pressed lips", "mouth pressed shut"),
        "25": ("lips parted", "lips slightly apart", "slightly open mouth"),
        "26": ("jaw dropped", "jaw lowered", "open mouth with the jaw hanging"),
        "27": ("mouth stretched open", "mouth wide open", "jaw pulled far down"),
        "28": ("lips sucked in", "lips rolled inwards", "lips folded over the teeth"),
        "30": ("jaw moved sideways", "jaw shifted to one side"),
        "33": ("cheeks puffed", "cheeks blown out", "cheeks filled with air"),
        "45": ("eyes closed", "eyelids shut", "closed eyes"),
        "64": ("eyes looking down", "gaze lowered", "looking downwards"),
    },
    "ja": {
        "1": ("眉の内側が上がっている", "眉頭が持ち上がっている", "眉頭を上げている"),
        "2": ("眉の外側が上がっている", "眉尻が持ち上がっている", "眉尻を上げている"),
        "4": ("眉が下がり寄っている", "眉をひそめている", "眉間にしわが寄っている"),
        "5": ("上まぶたが上がっている", "目を大きく見開いている", "目が見開かれている"),
        "6": ("頬が上がっている", "頬が目の方へ持ち上がっている", "頬を押し上げている"),
        "7": ("まぶたに力が入っている", "目を細めている", "下まぶたが緊張している"),
        "9": ("鼻にしわが寄っている", "鼻筋にしわを寄せている", "鼻をしかめている"),
        "10": ("上唇が上がっている", "上唇が持ち上がっている", "上唇を引き上げている"),
        "12": ("口角が上がっている", "口の端が引き上げられている", "口元がほころんでいる"),
        "14": ("口角が内側に引き締まっている", "口元にえくぼができている", "頬にえくぼがある"),
        "15": ("口角が下がっている", "口の端が引き下げられている", "口がへの字に曲がっている"),
        "16": ("下唇が下がっている", "下唇が引き下げられている", "下唇を下げている"),
        "17": ("顎の先が上がっている", "顎が下唇を押し上げている", "顎にしわが寄っている"),
        "18": ("唇をすぼめている", "口がすぼまっている", "唇を前に寄せて突き出している"),
        "20": ("唇が横に伸びている", "口が横に引き伸ばされている", "口角が後ろに引かれている"),
        "22": ("唇が漏斗の形に開いている", "唇が丸く前に出ている", "唇を外へ丸めている"),
        "23": ("唇が引き締まっている", "唇を固くしている", "唇が細く緊張している"),
        "24": ("唇を押し合わせている", "唇がきつく合わさっている", "口を固く結んでいる"),
        "25": ("唇が開いている", "唇がわずかに離れている", "口が少し開いている"),
        "26": ("顎が下がっている", "顎が落ちている", "顎が下がり口が開いている"),
        "27": ("口が縦に大きく開いている", "口を大きく開けている", "顎が大きく引き下げられている"),
        "28": ("唇を吸い込んでいる", "唇を内側に巻き込んでいる", "唇が歯を覆っている"),
        "30": ("顎が横にずれている", "顎を片側に動かしている"),
        "33": ("頬を膨らませている", "頬が膨らんでいる", "頬に空気をためている"),
        "45": ("目を閉じている", "まぶたが閉じている", "目をつぶっている"),
        "64": ("視線が下を向いている", "目を伏せている", "下を見ている"),
    },
}
_ONE_SIDED = {
    "en": {
        "2": ("{side} outer brow raised", "outer end of the {side} eyebrow lifted"),
        "4": ("{side} brow lowered", "{side} eyebrow drawn down"),
        "5": ("{side} upper eyelid raised", "{side} eye opened wide"),
        "6": ("{side} cheek raised", "{side} cheek pushed up"),
        "7": ("{side} eyelids tightened", "narrowed {side} eye"),
        "9": ("{side} side of the nose wrinkled", "nose scrunched on the {side}"),
        "10": ("{side} upper lip raised", "upper lip lifted on the {side}"),
        "12": ("{side} lip corner pulled up", "{side} corner of the mouth lifted"),
        "14": ("{side} lip corner tucked inwards", "dimple on the {side} of the mouth"),
        "15": ("{side} lip corner pulled down", "{side} corner of the mouth turned down"),
        "16": ("lower lip pulled down on the {side}", "{side} lower lip drawn down"),
        "20": ("lips stretched to the {side}", "{side} lip corner pulled back"),
        "24": ("lips pressed together on the {side}", "{side} half of the mouth pressed shut"),
        "30": ("jaw moved to the {side}", "jaw shifted {side}"),
        "45": ("{side} eye closed", "{side} eyelid shut"),
    },
    "ja": {
        "2": ("{side}眉の外側が上がっている", "{side}の眉尻を上げている"),
        "4": ("{side}眉が下がっている", "{side}の眉を寄せている"),
        "5": ("{side}の上まぶたが上がっている", "{side}目を大きく見開いている"),
        "6": ("{side}の頬が上がっている", "{side}頬を押し上げている"),
        "7": ("{side}のまぶたに力が入っている", "{side}目を細めている"),
        "9": ("鼻の{side}側にしわが寄っている", "鼻の{side}側をしかめている"),
        "10": ("{side}の上唇が上がっている", "上唇の{side}側を引き上げている"),
        "12": ("{side}の口角が上がっている", "口の{side}端が引き上げられている"),
        "14": ("{side}の口角が内側に引き締まっている", "口の{side}側にえくぼができている"),
        "15": ("{side}の口角が下がっている", "口の{side}端が引き下げられている"),
        "16": ("下唇の{side}側が下がっている", "{side}の下唇が引き下げられている"),
        "20": ("唇が{side}に伸びている", "{side}の口角が後ろに引かれている"),
        "24": ("唇の{side}側を押し合わせている", "口の{side}半分を固く結んでいる"),
        "30": ("顎が{side}にずれている", "顎を{side}へ動かしている"),
        "45": ("{side}目を閉じている", "{side}のまぶたが閉じている"),
    },
}
_SIDE_WORDS = {"en": {"L": "left", "R": "right"}, "ja": {"L": "左", "R": "右"}}
SIDED_ACTIONS = tuple(_ONE_SIDED["en"])

# unit ("12", or one-sided "12L" / "12R": the subject's left and right) -> language -> wordings
ACTION_PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    unit: {language: phrases[unit] for language, phrases in _BILATERAL.items()} for unit in _BILATERAL["en"]
} | {
    unit + side: {
        language: tuple(text.format(side=_SIDE_WORDS[language][side]) for text in phrases[unit])
        for language, phrases in _ONE_SIDED.items()
    }
    for unit in SIDED_ACTIONS
    for side in "LR"
}
RELAXED_PHRASES = {
    "en": ("a relaxed face", "a face at rest", "no visible facial movement"),
    "ja": ("力の抜けた顔", "動きのない顔", "顔に目立った動きがない"),
}
