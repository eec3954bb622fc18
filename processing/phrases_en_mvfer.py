"""English wordings of facial actions: tables alone; what they mean and which are held out is said in `facs_phrases_mvfer`.

A mark stands where a word of degree may go, by its kind: "*" movement, "+" force, "~" wrinkles, "^" opening. The first wording is
canonical. The last third of each row is held out, and made of words that other rows use.
"""

BILATERAL = {
    "1": (
        "inner brows *raised", "inner corners of the eyebrows *lifted", "inner eyebrows *pulled up", "*raised inner brows",
        "eyebrows *lifted in the middle", "brows *pulled up at their inner ends", "inner parts of the brows *lifted",
        "brows slanting up towards the middle of the forehead",
        "inner ends of the brows *raised", "eyebrows *raised at the inner corners", "*lifted inner eyebrows",
        "inner corners of the brows *drawn upwards",
    ),
    "2": (
        "outer brows *raised", "outer ends of the eyebrows *lifted", "outer eyebrows *pulled up", "*raised outer brows",
        "eyebrows *arched at the outside", "brows *pulled up at their outer ends", "tails of the eyebrows *raised",
        "outer corners of the eyebrows *drawn upwards",
        "outer ends of the brows *raised", "eyebrows *lifted at the outer corners", "*lifted outer eyebrows",
        "outer parts of the brows *pulled upwards",
    ),
    "4": (
        "brows *lowered", "eyebrows *drawn down and together", "~furrowed brow", "*lowered brows", "brows *knitted together",
        "frowning", "wrinkles between the eyebrows", "both eyebrows *pulled down",
        "eyebrows *lowered", "brows *drawn downwards and together", "frowning eyebrows", "eyebrows *pulled together",
    ),
    "5": (
        "upper eyelids *raised", "eyes opened wide", "wide open eyes", "*raised upper eyelids", "upper lids *lifted",
        "whites of the eyes showing above the iris", "both upper eyelids *pulled up", "eyes *widened",
        "*lifted upper eyelids", "upper lids *raised", "upper eyelids *pulled upwards", "eyes wide open",
    ),
    "6": (
        "cheeks *raised", "cheeks *lifted towards the eyes", "cheeks *pushed up", "*raised cheeks",
        "cheeks *bunched up under the eyes", "both cheeks *lifted", "wrinkles at the outer corners of the eyes",
        "cheeks *pulled upwards",
        "*lifted cheeks", "cheeks *raised towards the eyes", "cheeks *drawn up under the eyes", "both cheeks *pushed upwards",
    ),
    "7": (
        "eyelids +tightened", "*narrowed eyes", "lower eyelids +tensed", "+tightened lids", "eyes *narrowed", "squinting eyes",
        "lower lids +tensed and raised", "both eyes *narrowed by the lids",
        "+tensed eyelids", "lower eyelids +tightened", "eyes *squinting", "lids of both eyes +tightened",
    ),
    "9": (
        "nose ~wrinkled", "wrinkles across the bridge of the nose", "scrunched nose", "~wrinkled nose", "nose *scrunched up",
        "skin of the nose ~wrinkled", "nose *crinkled", "both sides of the nose *pulled up",
        "nose *scrunched", "wrinkles on the sides of the nose", "bridge of the nose ~wrinkled", "*crinkled nose",
    ),
    "10": (
        "upper lip *raised", "upper lip *lifted", "upper lip *pulled up", "*raised upper lip",
        "upper lip *drawn up towards the nose", "middle of the upper lip *raised", "upper lip *curled upwards",
        "upper lip *lifted off the teeth",
        "*lifted upper lip", "upper lip *pulled towards the nose", "upper lip *drawn upwards", "upper lip *raised off the teeth",
    ),
    "12": (
        "lip corners *pulled up", "corners of the mouth *lifted", "smiling mouth", "smiling", "mouth corners *raised", "a smile",
        "lip corners *drawn up and back", "both corners of the mouth *pulled upwards",
        "corners of the mouth *raised", "lip corners *lifted", "smiling lips", "mouth corners *drawn upwards",
    ),
    "14": (
        "lip corners +tucked inwards", "dimples beside the mouth", "dimpled cheeks", "lip corners +tightened inwards",
        "corners of the mouth +tucked in", "dimples at the lip corners", "mouth corners +squeezed inwards",
        "both corners of the mouth +tightened",
        "corners of the mouth +pulled inwards", "mouth corners +tucked inwards", "dimples at the corners of the mouth",
        "lip corners +squeezed in",
    ),
    "15": (
        "lip corners *pulled down", "corners of the mouth *turned down", "mouth corners *drawn downwards",
        "*lowered lip corners", "corners of the mouth *drooping", "mouth *turned down at the corners",
        "both lip corners *pulled downwards", "*downturned mouth",
        "corners of the mouth *pulled down", "mouth corners *lowered", "lip corners *turned downwards", "lip corners *drawn down",
    ),
    "16": (
        "lower lip *pulled down", "lower lip *drawn down", "lower lip *lowered", "bottom lip *pulled down",
        "lower lip *pulled down off the teeth", "bottom lip *lowered", "both halves of the lower lip *drawn down",
        "lower lip *drawn towards the chin",
        "bottom lip *drawn down", "lower lip *pulled downwards", "lower lip *lowered towards the chin",
        "bottom lip *pulled towards the chin",
    ),
    "17": (
        "chin *raised", "lower lip +pushed up by the chin", "chin *bunched upwards", "chin +pushed up against the lower lip",
        "skin of the chin *pulled upwards", "~wrinkled chin", "chin *bunched under the lower lip",
        "lower lip *lifted by the chin",
        "chin +pushed upwards", "skin of the chin *bunched and wrinkled", "chin *pulled up under the lower lip",
        "lower lip +pressed up by the chin",
    ),
    "18": (
        "lips *puckered", "puckered mouth", "lips +drawn together and forward", "*puckered lips", "lips shaped for a kiss",
        "lips *bunched and pushed forward", "mouth *puckered up", "corners of the mouth *drawn towards each other",
        "lips *puckered up", "mouth +drawn together and forward", "lips *bunched forward", "mouth shaped for a kiss",
    ),
    "20": (
        "lips *stretched sideways", "mouth stretched wide", "lip corners *pulled back", "*stretched lips",
        "mouth *stretched sideways", "corners of the mouth *pulled back towards the ears", "lips *drawn out flat",
        "both lip corners *drawn sideways",
        "mouth *drawn out sideways", "corners of the mouth *pulled sideways", "lip corners *drawn back", "lips *stretched flat",
    ),
    "22": (
        "lips *funneled", "lips *pushed forward into a funnel", "lips *rounded outwards", "*funneled lips",
        "lips *flared outwards", "mouth shaped into a funnel", "lips *turned outwards and rounded", "*funneled mouth",
        "mouth *rounded into a funnel", "lips *pushed outwards and rounded", "lips *turned outwards",
        "lips shaped into a funnel",
    ),
    "23": (
        "lips +tightened", "tight lips", "lips +narrowed and tensed", "+tightened lips", "red of the lips *narrowed",
        "thin tense lips", "mouth +tightened", "lips drawn tight",
        "lips +tensed", "*narrowed lips", "thin tight lips", "mouth +tensed and narrowed",
    ),
    "24": (
        "lips +pressed together", "pressed lips", "mouth +pressed shut", "lips +squeezed together",
        "lips +pressed against each other", "mouth clamped shut", "both lips +pressed together", "lips pressed flat",
        "lips +pressed shut", "mouth +squeezed shut", "lips clamped together", "upper and lower lip +pressed together",
    ),
    "25": (
        "lips ^parted", "lips slightly apart", "slightly open mouth", "^parted lips", "lips ^separated", "gap between the lips",
        "upper and lower lip apart", "mouth open a little",
        "lips a little apart", "^separated lips", "upper and lower lip ^parted", "mouth slightly open",
    ),
    "26": (
        "jaw *dropped", "jaw *lowered", "open mouth with the jaw hanging", "*dropped jaw", "mouth ^opened by the dropped jaw",
        "lower jaw *dropped", "jaw hanging open", "*lowered jaw",
        "lower jaw *lowered", "jaw hanging down", "open mouth with the jaw dropped", "mouth ^opened by the lowered jaw",
    ),
    "27": (
        "mouth stretched open", "mouth wide open", "jaw pulled far down", "mouth stretched wide open", "mouth gaping wide",
        "jaw stretched far down", "widely opened mouth", "mouth opened as far as it goes",
        "wide open mouth", "mouth opened wide", "jaw drawn far down", "mouth stretched far open",
    ),
    "28": (
        "lips *sucked in", "lips *rolled inwards", "lips folded over the teeth", "lips *drawn into the mouth",
        "both lips *rolled in", "lips *tucked into the mouth", "lips turned in over the teeth", "red of the lips hidden",
        "lips *sucked into the mouth", "lips rolled over the teeth", "both lips *drawn inwards", "lips *folded in",
    ),
    "30": (
        "jaw *moved sideways", "jaw *shifted to one side", "jaw *pushed to one side", "lower jaw *moved to one side",
        "chin *shifted sideways", "lower jaw *pushed sideways", "jaw *drawn to one side", "chin *moved to one side",
        "jaw *shifted sideways", "lower jaw *shifted to one side", "chin *pushed to one side", "jaw *moved to one side",
    ),
    "33": (
        "cheeks *puffed", "cheeks *blown out", "cheeks filled with air", "*puffed cheeks", "both cheeks *puffed out",
        "cheeks *swollen with air", "cheeks *ballooned", "air held in the cheeks",
        "*puffed out cheeks", "*blown out cheeks", "both cheeks filled with air", "cheeks *puffed with air",
    ),
    "45": (
        "eyes closed", "eyelids shut", "closed eyes", "eyes shut", "both eyes closed", "lids closed", "shut eyelids",
        "eyelids closed over the eyes",
        "closed eyelids", "both eyes shut", "lids shut", "shut eyes",
    ),
    "64": (
        "eyes looking down", "gaze *lowered", "looking downwards", "eyes *lowered", "gaze *turned down", "downcast eyes",
        "gaze directed downwards", "eyes *turned down",
        "*lowered gaze", "eyes directed downwards", "looking down", "gaze *turned downwards",
    ),
}  # fmt: skip
ONE_SIDED = {
    "2": (
        "{side} outer brow *raised", "outer end of the {side} eyebrow *lifted", "{side} outer eyebrow *pulled up",
        "*raised outer brow on the {side}", "outer part of the {side} eyebrow *raised", "{side} eyebrow *arched at the outside",
        "outer corner of the {side} eyebrow *drawn upwards", "{side} brow *pulled up at its outer end",
        "outer end of the {side} brow *raised", "{side} eyebrow *lifted at the outer corner",
        "outer part of the {side} brow *pulled upwards", "*lifted outer brow on the {side}",
    ),
    "4": (
        "{side} brow *lowered", "{side} eyebrow *drawn down", "{side} eyebrow *pulled down and in", "*lowered {side} eyebrow",
        "brow *lowered on the {side}", "frowning on the {side}", "{side} half of the brow *pulled down",
        "{side} brow *drawn downwards",
        "{side} eyebrow *lowered", "{side} brow *pulled down", "eyebrow *drawn down on the {side}",
        "{side} half of the brow *lowered",
    ),
    "5": (
        "{side} upper eyelid *raised", "{side} eye opened wide", "wide open {side} eye", "*raised upper eyelid on the {side}",
        "{side} upper lid *lifted", "upper lid of the {side} eye *pulled up", "{side} eye *widened",
        "white of the {side} eye showing above the iris",
        "upper eyelid of the {side} eye *raised", "{side} eye wide open", "{side} upper lid *raised",
        "upper eyelid *lifted on the {side}",
    ),
    "6": (
        "{side} cheek *raised", "{side} cheek *pushed up", "cheek *lifted on the {side}", "*raised {side} cheek",
        "{side} cheek *lifted towards the eye", "{side} cheek *bunched up under the eye",
        "wrinkles at the outer corner of the {side} eye", "{side} cheek *pulled upwards",
        "cheek *raised on the {side}", "*lifted {side} cheek", "{side} cheek *raised towards the eye",
        "{side} cheek *drawn up under the eye",
    ),
    "7": (
        "{side} eyelids +tightened", "*narrowed {side} eye", "{side} eye *narrowed", "lower lid of the {side} eye +tensed",
        "squinting {side} eye", "eyelids +tightened on the {side}", "{side} lower eyelid +tensed",
        "lids of the {side} eye +tightened",
        "{side} eyelids +tensed", "{side} lower eyelid +tightened", "{side} eye *squinting",
        "eyelids of the {side} eye +tightened",
    ),
    "9": (
        "{side} side of the nose ~wrinkled", "nose *scrunched on the {side}", "nose ~wrinkled on the {side}",
        "wrinkles on the {side} side of the nose", "{side} half of the nose *scrunched up", "{side} side of the nose *crinkled",
        "skin ~wrinkled on the {side} of the nose", "{side} side of the nose *pulled up",
        "{side} side of the nose *scrunched", "nose *crinkled on the {side}", "{side} half of the nose ~wrinkled",
        "nose *pulled up on the {side}",
    ),
    "10": (
        "{side} upper lip *raised", "upper lip *lifted on the {side}", "{side} half of the upper lip *raised",
        "upper lip *pulled up on the {side}", "*raised upper lip on the {side}", "{side} side of the upper lip *drawn up",
        "upper lip *curled upwards on the {side}", "{side} upper lip *drawn up towards the nose",
        "{side} side of the upper lip *raised", "{side} half of the upper lip *lifted",
        "upper lip *drawn upwards on the {side}", "{side} upper lip *pulled up",
    ),
    "12": (
        "{side} lip corner *pulled up", "{side} corner of the mouth *lifted", "{side} mouth corner *raised",
        "mouth *pulled up at the {side} corner", "smiling on the {side}", "{side} corner of the mouth *drawn upwards",
        "a smile on the {side} side of the mouth", "lip corner *pulled up on the {side}",
        "{side} corner of the mouth *raised", "{side} lip corner *lifted", "mouth smiling on the {side}",
        "{side} mouth corner *drawn up",
    ),
    "14": (
        "{side} lip corner +tucked inwards", "dimple on the {side} of the mouth", "dimple in the {side} cheek",
        "{side} corner of the mouth +tucked in", "{side} lip corner +tightened inwards", "dimple at the {side} lip corner",
        "{side} mouth corner +squeezed inwards", "lip corner +tucked in on the {side}",
        "{side} corner of the mouth +squeezed in", "dimple at the {side} corner of the mouth",
        "{side} mouth corner +tucked inwards", "dimpled {side} cheek",
    ),
    "15": (
        "{side} lip corner *pulled down", "{side} corner of the mouth *turned down", "{side} mouth corner *drawn downwards",
        "mouth *turned down at the {side} corner", "*lowered {side} lip corner", "{side} corner of the mouth *drooping",
        "lip corner *pulled down on the {side}", "{side} lip corner *drawn down",
        "{side} corner of the mouth *pulled down", "{side} mouth corner *lowered", "{side} lip corner *turned downwards",
        "mouth *drawn down at the {side} corner",
    ),
    "16": (
        "lower lip *pulled down on the {side}", "{side} lower lip *drawn down", "{side} half of the lower lip *lowered",
        "bottom lip *pulled down on the {side}", "{side} side of the lower lip *pulled down", "lower lip *lowered on the {side}",
        "{side} half of the bottom lip *drawn down", "lower lip *drawn down on the {side}",
        "{side} half of the lower lip *pulled down", "{side} lower lip *pulled down", "bottom lip *lowered on the {side}",
        "{side} side of the bottom lip *drawn down",
    ),
    "20": (
        "lips *stretched to the {side}", "{side} lip corner *pulled back", "mouth *stretched to the {side}",
        "{side} corner of the mouth *pulled back", "lips *drawn out to the {side}", "{side} lip corner *drawn sideways",
        "mouth *stretched sideways on the {side}", "{side} mouth corner *pulled towards the ear",
        "mouth *drawn out to the {side}", "{side} corner of the mouth *pulled sideways", "{side} lip corner *drawn back",
        "lips *stretched sideways on the {side}",
    ),
    "24": (
        "lips +pressed together on the {side}", "{side} half of the mouth +pressed shut", "lips +squeezed together on the {side}",
        "mouth +pressed shut on the {side}", "{side} side of the lips +pressed together",
        "lips +pressed against each other on the {side}", "{side} half of the lips +squeezed together",
        "mouth clamped shut on the {side}",
        "{side} half of the lips +pressed together", "{side} side of the mouth +pressed shut",
        "lips clamped together on the {side}", "mouth +squeezed shut on the {side}",
    ),
    "30": (
        "jaw *moved to the {side}", "jaw *shifted {side}", "lower jaw *moved to the {side}", "jaw *pushed to the {side}",
        "chin *shifted to the {side}", "lower jaw *pushed to the {side}", "jaw *drawn to the {side}", "chin *moved {side}",
        "jaw *shifted to the {side}", "lower jaw *shifted {side}", "chin *pushed to the {side}",
        "lower jaw *drawn to the {side}",
    ),
    "45": (
        "{side} eye closed", "{side} eyelid shut", "closed {side} eye", "{side} eye shut", "lid closed over the {side} eye",
        "only the {side} eye closed", "{side} lid closed", "winking with the {side} eye",
        "{side} eyelid closed", "shut {side} eye", "only the {side} eye shut", "{side} lid shut",
    ),
}  # fmt: skip
RELAXED = (
    "a relaxed face", "a face at rest", "no visible facial movement", "face without any movement", "facial muscles at rest",
    "a still face", "no facial action", "all parts of the face relaxed",
    "no visible facial action", "a still and relaxed face", "face without visible movement", "all parts of the face at rest",
)  # fmt: skip
# Everyday words for several actions together ("6 12"), or for one of a certain degree ("12>" strong, "12<" slight).
EVERYDAY = {
    "12>": ("a broad smile", "smiling broadly", "a wide smile"),
    "12<": ("a faint smile", "smiling slightly", "slightly smiling"),
    "1 2": ("eyebrows raised", "raised eyebrows", "both brows lifted", "brows pulled up", "brows raised", "lifted eyebrows"),
    "1 4": (
        "inner brows raised and drawn together", "brows knitted and lifted in the middle", "inner brows pulled up and together",
    ),
    "1 2 5": ("raised eyebrows over wide open eyes", "brows lifted and eyes widened", "eyes opened wide under raised eyebrows"),
    "4 7": ("frowning with narrowed eyes", "eyes narrowed under lowered brows", "squinting under lowered brows"),
    "6 12": ("smiling with raised cheeks", "a smile that lifts the cheeks", "smiling with the cheeks lifted"),
    "12 25": ("smiling with parted lips", "a smile with the lips apart", "smiling with the lips parted"),
    "25 26": ("mouth open", "open mouth", "mouth opened"),
    "12 25 26": ("smiling with an open mouth", "a smile with the mouth open", "smiling with the mouth open"),
    "12 45": ("smiling with closed eyes", "a smile with the eyes shut", "smiling with the eyes closed"),
}  # fmt: skip
SIDES = {"L": "left", "R": "right"}
DEGREES = {  # kind of movement -> words for a slight and for a strong one
    "*": {"<": ("slightly", "faintly"), ">": ("strongly", "markedly")},
    "+": {"<": ("slightly", "lightly"), ">": ("strongly", "firmly")},
    "~": {"<": ("slightly", "faintly"), ">": ("deeply", "strongly")},
    "^": {"<": ("slightly", "barely"), ">": ("widely",)},
}
GAP = " "  # between a word of degree and what follows

ENGLISH = {
    "bilateral": BILATERAL,
    "one_sided": ONE_SIDED,
    "relaxed": RELAXED,
    "everyday": EVERYDAY,
    "sides": SIDES,
    "degrees": DEGREES,
    "gap": GAP,
}
