"""English words that are written with a full stop: it belongs to the word, and may end no sentence.

An entry in small letters is meant in any case; one with a capital only so (Mass. is a state, mass. the end of a sentence).
"""

from __future__ import annotations

_NEVER_LAST = """
mr mrs ms messrs mme mlle dr drs prof Rev Hon Pres Sen Sens Rep Reps Gov Govs Gen Col Capt Cmdr Lt Sgt Maj Adm Supt St Ste Mt Ft Atty
vs fig figs Eq Eqs Sec Ch chap vol vols nos pp Op cit Ref Refs ca cf e.g i.e viz
"""
_MAYBE_LAST = """
etc inc Co corp ltd bros jr sr esq Ave blvd Rd Bldg dept Dist Univ Assn Assoc ph.d al
Jan Feb Apr Aug Sept Sep Oct Nov Dec Mon Tue Tues Wed Thu Thur Thurs Fri
Ala Ariz Ark Calif Colo Conn Del Fla Ga Ill Ind Kan Ky La Mass Md Mich Minn Mo Mont Neb Nev Okla Ore Pa Penn Tenn Tex Va Vt Wash Wis Wyo Ont
lb lbs oz yd yds ft hr hrs mins cm mm km kg mg gm sq cu yr yrs approx
"""
_STARTERS = """
the a an this that these those he she it they we you i there here his her its their our my in on at for from by with as if when while after
before although though since because but and or so then thus however moreover what who why how where which one two some many most all each
every no not now once even also still yet another both such few several during until under over to of
"""
NEVER_LAST = frozenset(_NEVER_LAST.split())  # something must follow: a name, a number
MAYBE_LAST = frozenset(_MAYBE_LAST.split())
STARTERS = frozenset(_STARTERS.split())  # begin a sentence often, and seldom stand capitalised inside one


def known(word: str, table: frozenset[str]) -> bool:
    """Whether the word, without its full stop, is in the table; of a compound (24-hr) its last part counts."""
    last = word.rpartition("-")[2]
    return last in table or last.lower() in table
