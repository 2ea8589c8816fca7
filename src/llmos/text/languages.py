"""Languages by name or code, so that `translate(text, "fr")`, "French", "français" and "fr-FR" mean the same.

Codes are ISO 639-1 (639-2 or 639-3 where there is none), with the script where it changes the language a model writes (zh-Hant).
What a model supports is its card's business; this says only which language is meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from llmos.errors import InvalidValue, did_you_mean


@dataclass(frozen=True, slots=True)
class Language:
    """code: lower case, "fr". name: in English, as T5 and instruct models are told. three: ISO 639-3, as NLLB and Marian use."""

    code: str
    name: str
    three: str = ""


# code | ISO 639-3 | English name | other names
_TABLE = """
af|afr|Afrikaans|
am|amh|Amharic|አማርኛ
ar|ara|Arabic|العربية
az|aze|Azerbaijani|
be|bel|Belarusian|беларуская
bg|bul|Bulgarian|български
bn|ben|Bengali|Bangla,বাংলা
bs|bos|Bosnian|
ca|cat|Catalan|Català,Valencian
cs|ces|Czech|Čeština,cze
cy|cym|Welsh|Cymraeg,wel
da|dan|Danish|Dansk
de|deu|German|Deutsch,ger,德语
el|ell|Greek|Ελληνικά,gre
en|eng|English|英语
eo|epo|Esperanto|
es|spa|Spanish|Español,Castilian,西班牙语
et|est|Estonian|Eesti
eu|eus|Basque|Euskara,baq
fa|fas|Persian|Farsi,فارسی,per
fi|fin|Finnish|Suomi
fr|fra|French|Français,fre,法语
ga|gle|Irish|Gaeilge
gl|glg|Galician|Galego
gu|guj|Gujarati|
ha|hau|Hausa|
he|heb|Hebrew|עברית,iw
hi|hin|Hindi|हिन्दी
hr|hrv|Croatian|Hrvatski
hu|hun|Hungarian|Magyar
hy|hye|Armenian|Հայերեն,arm
id|ind|Indonesian|Bahasa Indonesia
is|isl|Icelandic|Íslenska,ice
it|ita|Italian|Italiano,意大利语
ja|jpn|Japanese|日本語,日语
ka|kat|Georgian|ქართული,geo
kk|kaz|Kazakh|Қазақ
km|khm|Khmer|
kn|kan|Kannada|
ko|kor|Korean|한국어,韩语
la|lat|Latin|
lo|lao|Lao|
lt|lit|Lithuanian|Lietuvių
lv|lav|Latvian|Latviešu
mk|mkd|Macedonian|Македонски
ml|mal|Malayalam|
mn|mon|Mongolian|Монгол
mr|mar|Marathi|मराठी
ms|msa|Malay|Bahasa Melayu
mt|mlt|Maltese|Malti
my|mya|Burmese|
ne|nep|Nepali|
nl|nld|Dutch|Nederlands,dut,Flemish
no|nor|Norwegian|Norsk,nb,Bokmål,nob
pa|pan|Punjabi|
pl|pol|Polish|Polski
ps|pus|Pashto|
pt|por|Portuguese|Português,葡萄牙语
ro|ron|Romanian|Română,rum
ru|rus|Russian|Русский,俄语
si|sin|Sinhala|
sk|slk|Slovak|Slovenčina
sl|slv|Slovenian|Slovene,Slovenščina
so|som|Somali|
sq|sqi|Albanian|Shqip
sr|srp|Serbian|Српски
sv|swe|Swedish|Svenska
sw|swa|Swahili|Kiswahili
ta|tam|Tamil|தமிழ்
te|tel|Telugu|తెలుగు
th|tha|Thai|ไทย
tl|tgl|Tagalog|Filipino,fil
tr|tur|Turkish|Türkçe
uk|ukr|Ukrainian|Українська
ur|urd|Urdu|اردو
uz|uzb|Uzbek|
vi|vie|Vietnamese|Tiếng Việt
yo|yor|Yoruba|
zh|zho|Chinese|中文,汉语,普通话,Mandarin,Simplified Chinese,zh-cn,zh-hans,zh-sg,cmn,chi,简体中文
zh-hant|zho|Traditional Chinese|繁體中文,繁体中文,zh-tw,zh-hk,zh-mo
zu|zul|Zulu|
"""


def languages() -> list[Language]:
    """All languages with a name here, by code."""
    return list(_all().values())


def language(name_or_code: str, *, param: str = "language") -> Language:
    """The language meant by a code ("fr", "fra", "fr-FR", "fr_FR") or a name ("French", "Français"), in any case.

    Raises InvalidValue with the nearest known names and how many there are.
    """
    wanted = name_or_code.strip().casefold().replace("_", "-")
    known = _by_any_name()
    parts = wanted.split("-")
    shorter = ["-".join(parts[:num]) for num in range(len(parts), 0, -1)] if len(parts[0]) <= 3 else [wanted]
    found = next((known[name] for name in shorter if name in known), None)
    if found is None:
        names = [f"{entry.name} ({entry.code})" for entry in languages()]
        near = did_you_mean(wanted, sorted(known), limit=0).split("Known:")[0]
        raise InvalidValue(f"Unknown language {name_or_code!r}.", param=param, hint=f"{near}Known: {', '.join(names)}.")
    return found


@cache
def _all() -> dict[str, Language]:
    rows = [line.split("|") for line in _TABLE.strip().splitlines()]
    return {code: Language(code, name, three) for code, three, name, _ in rows}


@cache
def _by_any_name() -> dict[str, Language]:
    found: dict[str, Language] = {}
    for line in _TABLE.strip().splitlines():
        code, three, name, others = line.split("|")
        for key in (code, name, three, *filter(None, others.split(","))):
            found.setdefault(key.casefold(), _all()[code])
    return found
