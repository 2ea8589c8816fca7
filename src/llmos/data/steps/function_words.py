"""The words that hold sentences together, and a few that nobody wants to train on; own lists, in the public domain.

English: the closed classes of any grammar (articles, pronouns, prepositions, conjunctions, auxiliaries, question words, particles and
frequent adverbs of degree, time and place) with their contractions. Chinese: characters that are function words by themselves.
FLAGGED holds strong English and Chinese profanity only; it is short, on purpose and by far no protection: bring a list of your own.
"""

from __future__ import annotations

_ENGLISH = """
a an the this that these those each every either neither some any no none all both half few fewer many much more most several such
other another own same enough what which whatever whichever
i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it its itself
they them their theirs themselves one ones oneself who whom whose whoever someone somebody something anyone anybody anything everyone
everybody everything nobody nothing
about above across after against along amid among around as at before behind below beneath beside besides between beyond by despite
down during except for from in inside into like near of off on onto out outside over past per since than through throughout till to
toward towards under underneath until up upon via with within without
and but or nor so yet if unless because although though while whereas whether once when where why how however therefore thus hence
am is are was were be been being have has had having do does did doing done can could may might must shall should will would ought
not never ever also too very just only even still already almost quite rather again further then there here now always often
sometimes maybe perhaps
i'm i've i'd i'll you're you've you'd you'll he's he'd he'll she's she'd she'll it's it'd it'll we're we've we'd we'll they're they've
they'd they'll that's there's here's who's what's where's let's isn't aren't wasn't weren't haven't hasn't hadn't don't doesn't didn't
can't cannot couldn't mustn't shan't shouldn't won't wouldn't
"""
_FLAGGED = """
fuck fucks fucked fucker fuckers fucking motherfucker motherfuckers motherfucking shit shits shitty bullshit bitch bitches bastard
bastards asshole assholes cunt cunts whore whores slut sluts nigger niggers faggot faggots porn porno pornography blowjob handjob
cumshot gangbang dildo
傻逼 操你妈 他妈的 妈的 婊子 贱人 狗日的 草泥马
"""

ENGLISH = frozenset(_ENGLISH.split())
CHINESE = frozenset(
    "的了是在不有和就也都这那我你他她它们而与及或但被把对从向以为于之其所者吗呢吧啊呀么嘛着过得地很还又再个上下中里最更太"
)
FLAGGED = frozenset(_FLAGGED.split())
