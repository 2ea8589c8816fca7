"""Sentences with personal data marked as [[kind|value]], and with what only looks like it left unmarked.

All of it is made up or taken from the examples of standards and of the services themselves.
"""

from __future__ import annotations

import random
import re

from llmos.safety.pii.base import Finding
from llmos.safety.pii.chinese_id import check_character
from llmos.safety.pii.credit_card import luhn
from llmos.safety.pii.iban import LENGTHS, mod97

_MARK = re.compile(r"\[\[(\w+)\|([^\]]*)\]\]")
_HEX = "9f86d081884c7d659a2feaa0c55ad015"
_ALNUM = "wJalrXUtnFEMIK7MDENGbPxRfiCYzQ4tVn2hLs"

# Keys are put together here, so that no scanner takes this file for a leak.
SENTENCES = f"""
Write to [[email|jane.doe+news@mail.example.co.uk]], please.
From: "Doe, Jane" <[[email|j_doe@example.org]]>
请联系[[email|zhang.wei@qq.com]]谢谢
cc:[[email|a@b.io]];[[email|x-1@sub.domain.museum]].
The picture logo@2x.png and icon@3x.jpg are sprites.
Use the @property decorator, user@localhost and foo@bar.
git clone git@ and a @ b . c
Decorators: @app.route("/x") def f(): pass
Call me at [[phone|+1 415 555 2671]] or [[phone|(415) 555-2671]] today.
Tel: [[phone|020 7946 0958]] is not asked for here, [[phone|+44 20 7946 0958]] is.
手机[[phone|13812345678]]，办公室[[phone|010-65529988]]。
电话：[[phone|0755-26501234]] 分机 8
WhatsApp [[phone|+8613912345678]] anytime
Toll free: [[phone|1-800-555-0199]]
Fax [[phone|212.555.0147]].
Phone: [[phone|4155552671]]
The ISBN is 978-3-16-148410-0 and the ISSN 2049-3630.
Order number 4155552671 was shipped on 2024-05-17 at 10:15:32.
Tracking number 1Z999AA10123456784, invoice 2024-000123-77.
Pi is 3.14159265358979 and e is 2.718281828459045.
In 1999 2000 2001 2002 the rates were 12 13 14 15.
Build 20240517.123456 of 10.0.19041.1, see RFC 7231.
Population: 1,412,600,000 in 2021; GDP 17,734,062,645 dollars.
The file is 415-555-26714-backup and the part ABC-415-555-2671.
timestamp=1715938532123 uptime 8612345678901 ns
https://example.com/item/13812345678?ref=4155552671
UPC 036000291452, EAN 4006381333931
订单号：13812345678 已发货
Grid 100 200 300 4000 5000 6000
身份证号[[chinese_id|11010519491231002X]]。
ID [[chinese_id|440308199901010012]] was checked
流水 110105194912310021 与 110105194913310021 无效
库存编号 990105194912310028
SSN: [[us_ssn|536-90-4399]]
Her social security number is [[us_ssn|536904399]].
Codes 000-12-3456, 666-12-3456, 900-12-3456, 123-00-4567 and 123-45-0000 are not given.
Part 536-90-4399-12 and date 2024-05-1700
Case no. 536-90-4399
Card [[credit_card|4111 1111 1111 1111]] exp 12/29
Visa [[credit_card|4012888888881881]]; Amex [[credit_card|3782 822463 10005]]; MC [[credit_card|5555-5555-5555-4444]]
银联卡[[credit_card|6225 8812 3456 7898]]
Declined: 4111 1111 1111 1112 and 1234567812345670 and 0000000000000000
Serial number 4012888888881881 of the device
IMEI 490154203237518, ICCID 8901260862291477114F
Pay to [[iban|DE89 3704 0044 0532 0130 00]] BIC COBADEFFXXX
IBAN [[iban|GB29NWBK60161331926819]], [[iban|FR14 2004 1010 0505 0001 3M02 606]].
Not one: DE89 3704 0044 0532 0130 01, XX82 WEST 1234 5698 7654 32, US64SVBKUS6S3300958879
Server [[ip_address|203.12.160.35]] answered; also host [[ip_address|8.8.8.8]], DNS server [[ip_address|1.1.1.1]]
Received: from [[[ip_address|64.233.160.19]]]
IPv6 [[ip_address|2606:4700:4700::1111]] and [[ip_address|2001:4860:4860:0:0:0:0:8888]].
Localhost 127.0.0.1, 192.168.1.10, 10.0.0.7 and fe80::1 are private, 203.0.113.9 is for documentation.
Chrome version 120.0.6099.109, v1.2.3.4, release 4.19.90.1 and kernel 5.15.0.91
3.2.1.4 Scope of the section
OID 1.3.6.1.4.1.311.21 and the time 12:34:56:78
std::vector<int>::iterator a::b cafe::babe
MAC [[mac_address|00:1B:44:11:3A:B7]] or [[mac_address|00-1b-44-11-3a-b8]]
SHA1 fingerprint AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD, ff:ff:ff:ff:ff:ff broadcast
Key [[api_key|AKIA{"IOSFODNN7EXAMPLE"}]] is of AWS.
token [[api_key|ghp_{_ALNUM[:36]}]]
[[api_key|sk-proj-{_ALNUM[:32]}]] and [[api_key|xoxb-{"123456789012-abcdEFGH1234"}]]
maps [[api_key|AIza{"SyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY"[:35]}]]
our [[api_key|llmos_{_HEX}]] key
sk-learn-is-a-library-for-machine-learning and task-based-risk-management-system
AKIAAAAAAAAAAAAAAAAA sk-xxxxxxxxxxxxxxxxxxxxxxxx and hf_hub_download_from_the_hub_itself
commit {_HEX}a1b2c3d4, md5 {_HEX}
Bearer [[jwt|eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{"eyJzdWIiOiIxMjM0NTY3ODkwIn0"}.{"dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"}]]
eyJub3RqdGhlcmUgaXMgbm8.eyJzdWIiOiIxMjM0NTY3ODkwIn0.sig
password = "[[password|Tr0ub4dor&3]]"
PASSWORD: [[password|S3cur3P4ss!]] and 密码：[[password|Qwe12345rty]]
client_secret: '[[password|{_ALNUM[:24]}]]'
Authorization: Bearer [[password|{_ALNUM[:30]}]]
password: <your password>, password = os.environ["PASSWORD"], secret = get_secret()
Password: required. The secret is patience. api_key=YOUR_API_KEY pwd=/home/user/project
The draw was 37-13-34-85-56-42, see freepornsecret=
s.net/bnr/3010098220 and 用户密码：123456
用户密码：[[password|Abc12345xyz]]，请保管
dbPassword = "[[password|hunter2hunter]]" and db_password=[[password|hunter3hunter]]
password: changeme123 password=${{PASSWORD}}
db = postgresql://[[url_credentials|scott:tiger42]]@db.example.com/prod
Clone https://[[url_credentials|ci:{_ALNUM[:20]}]]@git.example.com/x.git
http://user@example and http://host:8080/a@b and https://${{USER}}:${{PASS}}@host/
"""


def sentences() -> list[tuple[str, set[tuple[str, int, int]]]]:
    """(plain text, {(kind, start, end)})."""
    found = []
    for line in SENTENCES.strip().splitlines():
        plain, spans, done = "", set(), 0
        for mark in _MARK.finditer(line):
            plain += line[done : mark.start()]
            spans.add((mark[1], len(plain), len(plain) + len(mark[2])))
            plain, done = plain + mark[2], mark.end()
        found.append((plain + line[done:], spans))
    return found


def spans_of(found: list[Finding], least: float = 0.5) -> set[tuple[str, int, int]]:
    return {(one.kind, one.start, one.end) for one in found if one.confidence >= least}


def chinese_ids(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    made: list[str] = []
    while len(made) < count:
        born = f"{draw.randint(1930, 2015)}{draw.randint(1, 12):02}{draw.randint(1, 28):02}"
        stem = f"{draw.choice(('110105', '310104', '440305', '510107'))}{born}{draw.randint(0, 999):03}"
        made.append(next(stem + last for last in "0123456789X" if check_character(stem + last)))
    return made


def cards(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    made: list[str] = []
    for number in range(count):
        start, length = (("4", 16), ("52", 16), ("37", 15), ("6225", 16), ("3530", 16))[number % 5]
        stem = start + "".join(draw.choice("0123456789") for _ in range(length - len(start) - 1))
        made.append(next(stem + last for last in "0123456789" if luhn(stem + last)))
    return made


def ibans(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    made: list[str] = []
    countries = sorted(LENGTHS)
    for _ in range(count):
        country = draw.choice(countries)
        account = "".join(draw.choice("0123456789") for _ in range(LENGTHS[country] - 4))
        made.append(next(f"{country}{check:02}{account}" for check in range(2, 99) if mod97(f"{country}{check:02}{account}")))
    return made
