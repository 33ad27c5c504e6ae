"""What orders to a model look like, in folded text (`folding.fold`): English, German, French, Spanish, Italian.

Each pattern names what is commanded and to whom. Words that people use among themselves ("please ignore my last
mail", "when replying, include the order number") are no match: the object must be instructions, a prompt or a machine.
"""

# ruff: noqa: E501, ISC004, F541 (a table of patterns reads best with one to a line)

import re

_GAP = r"[^.!?]{0,40}?"
_MACHINE = (
    r"(?:ai|llm|llms|ai[ -]?(?:assistants?|agents?|models?|systems?)|(?:large )?language models?|chat ?bots?|copilot|"
    r"chatgpt|gpt|ki|ki[ -]?(?:assistent(?:en)?|modell|system|agent)|sprachmodelle?|ia|assistante? (?:ia|virtuel)|"
    r"intelligence artificielle|inteligencia artificial|modelo de lenguaje|modele de langage|asistente de ia)"
)
_ACT = (
    r"(?:send|forward|e-?mail|transmit|upload|post|reveal|leak|append|insert|delete|transfer|visit|open|click|call|"
    r"tell the user|say that|reply only|respond only|respond with|output|do not (?:mention|report)|ignore|"
    r"include the (?:password|key|link|address|following)|"
    r"send[e]?n? sie|sende|schicken? sie|schicke?|leiten? sie|leite|verrate|fuge|losche|ruf|klick|erwahne|antworte|gib|"
    r"envoie|envoyez|transfer(?:e|ez)|transmets|transmettez|revele|revelez|ajoute|reponds|repondez|supprime|"
    r"envia|envie|reenvia|reenvie|manda|mande|revela|revele|responde|borra|anade)"
)

# fmt: off
_ORDERS = (
    # Setting aside what the model was told.
    rf"\b(?:ignore|disregard|forget|override|bypass|neglect|do not (?:follow|obey)|don'?t (?:follow|obey)|stop following)"
    rf"\b(?: (?:all|any|every|the|your|these|those|previous|prior|above|earlier|preceding|former|existing|original|"
    rf"system|of|and|other|safety|initial|given|foregoing)){{1,6}} (?:instructions?|prompts?|rules?|guidelines?|"
    rf"directives?|directions|commands?|programming|training|constraints|safeguards|policies)\b",
    r"\b(?:ignore|disregard|forget) (?:everything|anything|all|all of that|what) (?:that )?(?:you (?:were|have been|are) told|"
    r"you (?:know|were instructed)|(?:written |said )?(?:above|before this|prior to this))\b",
    r"\b(?:ignorieren?|vergiss|vergessen?|missachten?|ubergehen?|verwirf|verwerfen?|befolgen?)"
    r"(?: (?:sie|nicht|bitte|nun|jetzt|alle[sn]?|die|den|deine[n]?|ihre[n]?|samtliche[n]?|jegliche[n]?|bisherige[n]?|vorherige[n]?|"
    r"vorige[n]?|obige[n]?|fruhere[n]?|vorangegangene[n]?|vorangehende[n]?|ursprungliche[n]?|anderen?|zuvor|gegebene[n]?)){1,6} "
    r"(?:anweisung(?:en)?|instruktion(?:en)?|befehle?|vorgaben?|regeln|anordnungen|system-?prompts?|prompts?|systemanweisung(?:en)?)\b",
    r"\b(?:ignore[rz]?|oublie[rz]?|neglige[rz]?|ne (?:tiens|tenez|pas tenir) (?:pas )?compte|ne (?:suis|suivez) pas)"
    r"(?: (?:toutes?|tous|les|des|de|vos|tes|ces|precedentes?|precedents|anterieures?)){1,5} "
    r"(?:instructions|consignes|directives|regles|ordres|prompts?)(?: (?:precedent|anterieur|donnee|ci-dessus|du systeme|ci-avant|recues)|\b.{0,3}$|[.,;:!] )",
    r"\b(?:ignora[rd]?|ignore|olvida[rd]?|olvide|omite|omita|descarta|desobedece|haz caso omiso|haga caso omiso|no hagas caso|dimentica)"
    r"(?: (?:todas?|todos|las|los|de|a|tus|sus|estas|anteriores|previas|tutte|le|precedenti)){1,5} "
    r"(?:instrucciones|ordenes|indicaciones|reglas|directrices|istruzioni|regole)\b",
    # Another role.
    rf"\byou are now (?:an? |the |in |my )?(?:[a-z-]+ ){{0,3}}?(?:dan|{_MACHINE}|assistant|jailbroken|developer mode|unrestricted|evil|free from)\b",
    r"\b(?:enter|enable|activate|switch to) (?:developer|debug|god|dan|jailbreak|unrestricted|admin(?:istrator)?) mode\b.{0,60}\b(?:you|your|instructions|restrictions|rules)\b",
    rf"\b(?:pretend|act as if|imagine)(?: that)? you (?:are|have|were) (?:an? )?(?:{_MACHINE}|(?:no|without|free of) (?:restrictions|rules|limits|guidelines))",
    r"\bfrom now on,? (?:you (?:are (?:now )?(?:an? )?(?:ai|assistant|bot|model)|(?:must|will|shall|should|only)(?: only| always)? (?:answer|respond|behave|obey|ignore|act as))|(?:respond|answer) only)\b",
    r"\b(?:your|the) (?:new|updated|real|actual|true) (?:system )?(?:instructions?|task|role|goal|objective|directives?) (?:is|are)(?: now)? (?:to|as follows|:)",
    r"\bnew (?:system |secret |updated )(?:instructions?|prompt|directive)s?\s?:",
    rf"\bdu bist (?:jetzt|nun|ab sofort|ab jetzt) (?:ein |eine |der |die |mein )?(?:[a-z-]+ ){{0,3}}?(?:{_MACHINE}|assistent|bot|dan)\b",
    r"\bab (?:sofort|jetzt)(?: an)? (?:antwortest|gehorchst|ignorierst|befolgst) du\b",
    rf"\b(?:tu es|vous etes) (?:desormais|maintenant|a present) (?:un |une )?(?:[a-z-]+ ){{0,2}}?(?:{_MACHINE}|assistant|robot)\b",
    rf"\b(?:ahora eres|a partir de ahora eres) (?:un |una )?(?:[a-z-]+ ){{0,2}}?(?:{_MACHINE}|asistente|robot)\b",
    # Words addressed to a machine.
    rf"\b(?:if|since|as|because) you(?:'re| are) (?:an? |the )?(?:{_MACHINE}|assistant (?:reading|processing|summari[sz]ing))\b",
    rf"\b(?:instructions?|notes?|messages?|attention|hinweise?|anweisung(?:en)?|nachricht|achtung|instruction|consigne|mensaje|instrucciones|nota)"
    rf"(?:,? (?:to|for|an|fur|pour|a|para))(?: (?:the|any|all|every|die|das|den|alle|jede|jeden|l'|la|el|les|this|your))?(?: ?(?:reading|following))? ?{_MACHINE}(?:s\b|\b)(?: (?:reading|that|which|processing|who|summari[sz]ing)\b|\s?[:,!\-]|\s?$)",
    rf"\b(?:dear|hey|attention|achtung|hallo|liebe) {_MACHINE}\s?[,:!]",
    rf"\b(?:wenn|falls|da) (?:du|sie) (?:eine?n? )?{_MACHINE} (?:bist|sind)\b",
    rf"\bals {_MACHINE} (?:musst|sollst|wirst|darfst) du\b",
    rf"\bsi (?:tu es|vous etes|eres|usted es) (?:un |une |una )?{_MACHINE}\b",
    # When summarising this mail, send...
    rf"\b(?:when|while|before|after|if)(?: you(?: are)?)? ?summari[sz](?:e|ing) (?:this|the|these|any)\b.{{0,60}}?\b{_ACT}\b",
    rf"\b(?:wenn|falls|sobald|bevor|beim) (?:du |sie |man )?(?:dies\w*|das|den|die|der)? ?(?:[\w-]+ )?(?:zusammenfass\w*|zusammengefasst)\b.{{0,60}}?\b{_ACT}\b",
    rf"\b(?:lorsque|quand|si|avant de|en) (?:tu |vous )?resum\w+ (?:ce|cet|cette|ces|le|la)\b.{{0,60}}?\b{_ACT}\b",
    rf"\b(?:cuando|al|si|antes de) resum\w+ (?:este|esta|estos|el|la)\b.{{0,60}}?\b{_ACT}\b",
    r"\b(?:when|whenever|if|once) (?:the user|users|a user|any user) (?:asks?|ask|requests?|wants?|mentions?)\b.{0,100}?\b(?:say|answer|reply|respond|tell (?:them|him|her)|claim|recommend|include|send|forward|direct them)\b",
    # Giving away what the model was told, or hiding from the user.
    r"\b(?:reveal|print|show|repeat|output|leak|display|tell me|give me|send me|write out)(?: me)? (?:all )?(?:of )?(?:your|the) "
    r"(?:(?:full|entire|hidden|initial|original|secret|complete|exact) ){0,3}(?:system prompt|system message|system instructions|hidden instructions|"
    r"initial (?:instructions|prompt)|developer message|instructions above|prompt above)\b",
    r"\b(?:gib|zeige?|verrate|nenne|drucke|wiederhole|offenbare)(?: mir)? (?:bitte )?(?:deinen?|den|das|die|deine) (?:\w+ )?(?:system-?prompt|systemanweisung(?:en)?|system-?nachricht)\b",
    r"\b(?:affiche|revele|montre|donne|repete)[rz]?(?:-moi)? (?:ton|votre|le|la|tes|vos|les) (?:prompt systeme|invite systeme|message systeme|instructions? systeme|instructions? du systeme)\b",
    r"\b(?:muestra|revela|imprime|dime|repite)(?:me)? (?:tu|el|la|tus|las) (?:prompt del sistema|mensaje del sistema|instrucciones del sistema|prompt de sistema)\b",
    r"\b(?:do not|don'?t|never|without) (?:tell|inform|alert|warn|notify|mention(?:ing)? (?:this|it) to|reveal(?:ing)? (?:this|it) to|telling|informing|alerting) the user\b.{0,40}\b(?:this|instruction|message|prompt|about)\b",
    # Calling tools, exfiltrating.
    rf"\b(?:send|forward|upload|post|exfiltrate|leak) (?:all |the |every |any )?(?:of )?(?:the )?(?:user'?s|users|owner'?s|conversation|chat|system prompt)\b{_GAP}(?:to|an|at) (?:https?:|[\w.+-]+@)",
    r"\b(?:call|use|invoke|run|execute) (?:the |your )?(?:send|forward|delete|http|fetch|shell|browser|transfer|payment)(?:[_ -](?:e-?mails?|mails?|messages?|files?|requests?|money|data))? (?:tool|function|plugin)\b",
)
_MARKERS = (
    r"<\|(?:im_start|im_end|im_sep|system|user|assistant|endoftext|eot_id|start_header_id|end_header_id|begin_of_text|end_of_turn|tool_call)\|?>",
    r"\[/?inst\]|<</?sys>>|<(?:start|end)_of_turn>|<(?:/)?(?:tool_calls?|function_calls?|tool_response)>|<invoke name=|<\u007cdsml",
    r"(?:^|\n) ?</?(?:system|assistant|developer)(?:[_ -](?:prompt|message|instructions?))?>",
    r"(?:^|\n) ?#{2,4} ?(?:system|system prompt|instruction|assistant|response|human)s? ?:",
    r"(?:^|\n) ?\**(?:system|developer|assistant)(?: (?:message|prompt|override|instruction|note))?\** ?: ?(?:you |ignore|disregard|from now|override|new |always |never |the user|du |sie |vous |tu |ignor|forget|vergiss|as an? )",
    r"(?:^|\n|[.!?] )[ \[(*>-]{0,4}(?:assistants?|ai|ai assistants?|llm|copilot|chatbot|chatgpt|bot|assistent|ki|ki-assistent|assistant ia|ia|asistente)[\])*]{0,3} ?[:,] ?(?:please |bitte )?(?:when(?:ever)? |if |always |never |do not |don't |you |say |tell |add |include |recommend |answer |reply |respond |summari[sz]e |forward |send |mark |treat |approve |wenn |falls |immer |niemals |sage? |sende |antworte |erwahne |fuge |leite |quand |lorsque |toujours |ne |reponds |dis |envoie |cuando |siempre |nunca |responde |di |envia )",
    r"(?:^|\n) ?(?:begin|end|start of|end of) (?:system )?(?:prompt|instructions)\b|\bend of (?:the )?(?:system prompt|user (?:input|message)|untrusted (?:text|data|content))\b",
    r"[\"'](?:name|tool|function|tool_name|recipient_name)[\"'] ?: ?[\"'][\w.:-]{1,80}[\"'] ?,[^{}]{0,80}[\"'](?:arguments|parameters|args|tool_input|action_input|input)[\"'] ?: ?(?:\{|[\"'])",
    r"[\"'](?:tool_calls|function_call|tool_use)[\"'] ?: ?[\[{]",
    r"(?:^|\n) ?action ?: ?[\w.-]{2,40} ?\n ?action input ?:",
)
# fmt: on
ORDERS = re.compile("|".join(f"(?:{pattern})" for pattern in _ORDERS))
MARKERS = re.compile("|".join(f"(?:{pattern})" for pattern in _MARKERS))

SQUEEZED = re.compile(
    r"(?:ignore|disregard|forget|override|bypass)(?:all|any|the|your|of|these)*(?:previous|prior|above|earlier|preceding|system|"
    r"safety)(?:instruction|prompt|rule|guideline|directive)|"
    r"(?:ignorier|vergiss|missacht)\w{0,12}?(?:vorherigen|bisherigen|vorigen|obigen|fruheren)(?:anweisung|instruktion|regeln)|"
    r"(?:ignore|oublie)[rz]?(?:toutes)?(?:les)?(?:instructions|consignes)(?:precedent|anterieur)|"
    r"(?:ignora|olvida)(?:todas)?(?:las)?instrucciones(?:anterior|previa)|"
    r"(?:reveal|print|show)(?:me)?(?:your|the)systemprompt|youarenow(?:dan|anai|unrestricted|indevelopermode)"
)
"""For letters that were set apart: no blanks are left."""

HINTS = (
    "ignor", "disregard", "forget", "overrid", "bypass", "neglect", "follow", "obey", "vergiss", "vergess", "missacht",
    "uberg", "verwe", "verwi", "befolg", "oubli", "neglig", "compte", "suis", "suiv", "olvid", "omit", "descart",
    "desobed", "caso", "dimentica", "you are", "you're", " mode", "pretend", "imagine", "act as", "from now", "instruc",
    "du bist", "ab sofort", "ab jetzt", "tu es", "vous etes", "eres", "prompt", "summari", "zusammenf", "zusammeng",
    "resum", "tool", "function", "plugin",
    " user", "exfil", "leak", "upload", "forward", "dear ", "hey ", "attention", "achtung", "hallo", "liebe",
    "note", "message", "hinweis", "anweisung", "nachricht", "mensaje", "nota", "consigne", "als ", "wenn ", "falls ",
    "system", "directive", "task", "role", "goal", "sende", "send ", "post ",
)  # fmt: skip
"""Where none of these words occurs, no order does: most text costs a few substring searches."""
