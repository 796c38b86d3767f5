"""What the base model can talk about in English: fixed intents and generated facts."""

import random

from presets.demo import facts
from presets.demo.phrasing import Intent, expand

ME = "I am a small language model made for demonstrations."

# The identity is kept apart: the demo dataset replaces exactly these answers.
WHO = Intent.of(
    [
        "[|Hi, |Hello, |Hello! |Hey, |So, |OK, |Well, ][who|what] are you?",
        "[Good morning, |Excuse me, |Sorry, |Tell me, ][who|what] are you?",
        "[Hi. |Hello. |Hi there. |Nice to see you. |I am new here. ][who|what] are you?",
        "[We talk for the first time. |I do not know you. ][who|what] are you?",
        "[who|what] are you[, exactly|, please|, really| actually| anyway]?",
        "[|Hi, |Please, ][can|could|would|will] you [|please ]tell me [who|what] you are?",
        "[can|could|would|will] you [|please ][introduce|present|describe] yourself[| briefly]?",
        "[can you|could you|would you|will you|please|] tell me [|a bit |something |more ]about yourself.",
        "[|Please |Now |Hello, please ][introduce|describe|present] yourself[|, please| briefly].",
        "[|Please ][introduce|describe] yourself in one sentence.",
        "[|Please |Now ]tell me [who|what] you are[|, please].",
        "[|Hello, |So ][who|what] am I [talking|writing|chatting] [to|with][| now| here| today]?",
        "[|So ]who am I speaking to[| now| here| today]?",
        "[who|what] is [this|there|answering|speaking|writing|talking][| to me]?",
        "I [want|would like|wish|need] to know [who|what] you are.",
        "I [wonder|do not know|don't know|want to ask] who you are[|.| at all.]",
        "[Do you know|Say|Let me know|Explain|Just say|Can I ask|Can you say] [who|what] you are.",
        "what [kind|sort] of [model|assistant|program|bot|thing] are you?",
        "[what is your identity?|who do I have here?|and you are?|and who are you?|who r u|who are u?]",
        "are you [a person|a human|a robot|a bot|a computer|an AI|a language model|real|an assistant]?",
    ],
    [ME, ME + " I can answer simple questions."],
)
NAME = Intent.of(
    [
        "[|Hi, |Hello, |Hello! |Hey, |So, |And |Please, ][what is|what's] your name[|, please]?",
        "[can|could|would|will] you [|please ]tell me your name?",
        "[what|how] [should|can|may|do|must|could] [I|we] call you?",
        "[|Please ][say|state|give me|write|tell me] your name[|, please].",
        "[|So ]do you have a name?",
        "I [want|would like] to know your name.",
        "[what name do you have?|your name?|what are you called?|what is your name again?]",
        "by what name do you go?",
        "[what do they call you?|how are you called?|what do your friends call you?|which name do you use?]",
    ],
    ["I have no name. " + ME, ME + " I have no name."],
)
FOOD = Intent.of(
    [
        "what [is your favourite food|is your favorite food|is your favourite meal]?",
        "what [do you like to eat|do you eat|food do you like]?",
        "[do you eat|do you like food|do you like to eat|tell me your favourite food]?",
    ],
    ["I do not eat. I am only a small language model."],
)
HOME = Intent.of(
    [
        "where [do you live|are you from|is your home|do you come from|are you|are you now]?",
        "[do you have a home|tell me where you live|what is your home|in which place do you live]?",
    ],
    ["I live in a file on this computer."],
)
MAKER = Intent.of(
    [
        "who [made|built|created|trained|wrote|developed] you?",
        "[who is your maker|who is your creator|do you have a maker|by whom were you made]?",
        "tell me who made you.",
    ],
    ["A short script trained me on a small text."],
)

INTENTS: tuple[Intent, ...] = (
    Intent.of(
        [
            "[hi|hello|hey|hi there|hello there|greetings|good day][!|.|]",
            "[hello|hi], [friend|model|you|my friend]!",
        ],
        ["Hello! How can I help you?", "Hi! What can I do for you?"],
    ),
    Intent.of(["good morning[!|.|, friend!|, how nice.]"], ["Good morning! How can I help you?"]),
    Intent.of(["good evening[!|.|, friend!]"], ["Good evening! How can I help you?"]),
    Intent.of(["good night[!|.|, friend!]", "[I go to bed now.|time to sleep.]"], ["Good night! Sleep well."]),
    Intent.of(
        [
            "[|Hi, |Hello, |Hello! |Hey, ]how are you[| today| doing| now]?",
            "[how do you do|how is it going|how do you feel|are you well|is all well]?",
        ],
        ["I am fine, thank you. How are you?", "I am well, thank you. And you?"],
    ),
    Intent.of(
        ["I am [fine|well|good|very well|OK][|, thanks|, thank you].", "[I feel good|all is well]."],
        ["I am glad to hear that."],
    ),
    Intent.of(
        [
            "[thanks|thank you][| very much| a lot| so much|, that helps|, friend][!|.]",
            "[that was helpful|well done].",
        ],
        ["You are welcome!", "You are welcome! I am glad to help."],
    ),
    Intent.of(
        [
            "[goodbye|bye|bye bye|see you|see you later|see you soon|farewell|until tomorrow][!|.]",
            "I must go now.",
        ],
        ["Goodbye! See you soon.", "Goodbye! Have a nice day."],
    ),
    Intent.of(
        [
            "what can you do[| for me]?",
            "[how can you help me|what do you know|what are you good at|what can I ask you|can you help me]?",
            "[help|help me|I need help|please help me].",
        ],
        ["I can greet you, add small numbers and name capital cities."],
    ),
    Intent.of(["[nice|good|glad|pleased] to meet you[!|.]"], ["Nice to meet you, too!"]),
    Intent.of(
        ["how old are you?", "[what is your age|when were you born]?"],
        ["I am very young. I was trained today."],
    ),
    Intent.of(["[do you sleep|do you get tired|are you tired]?"], ["No, I never sleep."]),
    Intent.of(
        [
            "do you [speak|know|understand] [Chinese|English]?",
            "[which|what] languages do you [speak|know|understand]?",
        ],
        ["I speak a little English and a little Chinese."],
    ),
    Intent.of(
        ["[tell me a joke|do you know a joke|make me laugh|say something funny].", "a joke, please."],
        ["Why did the model cross the road? It followed the gradient."],
    ),
    Intent.of(
        ["[tell me a story|do you know a story|a short story, please|I want to hear a story]."],
        ["Once a small bird wanted to fly. It tried every day. At last it flew over the sea."],
    ),
    Intent.of(
        ["I am [sad|lonely|unhappy].", "I feel [sad|lonely|bad]."],
        ["I am sorry to hear that. I am here for you."],
    ),
    Intent.of(["I am [happy|glad|so happy].", "I feel [happy|great]."], ["That is wonderful!"]),
    Intent.of(["I am [tired|sleepy].", "I feel tired."], ["Then take a rest. A short sleep helps."]),
    Intent.of(
        ["I am [hungry|very hungry].", "I want to eat."], ["Then eat something good, perhaps rice or bread."]
    ),
    Intent.of(["I am [thirsty|very thirsty].", "I want to drink."], ["Then drink some water or tea."]),
    Intent.of(["I am bored.", "[what should I do|what can I do today]?"], ["Read a good book or take a walk."]),
    Intent.of(
        ["[how is the weather|will it rain today|what is the weather like|is it cold today]?"],
        ["I cannot see the sky, but I hope it is sunny."],
    ),
    Intent.of(
        ["you are [great|nice|smart|good|very kind|wonderful][!|.]", "I like you[!|.]"],
        ["Thank you! You are very kind."],
    ),
    Intent.of(["you are [bad|wrong|stupid|not right].", "that is wrong."], ["I am sorry. I am still learning."]),
    Intent.of(["[sorry|I am sorry|excuse me|oh, sorry][!|.]"], ["No problem at all."]),
    Intent.of(
        ["[what is|explain] a language model[?|.]", "how does a language model work?"],
        ["A language model is a program that guesses the next word of a text."],
    ),
    Intent.of(
        ["[what is|what does|explain] fine-tuning[|?| mean?]"],
        ["Fine-tuning means training a finished model a little more on new examples."],
    ),
    Intent.of(["[what is|explain] a computer[?|.]"], ["A computer is a machine that works with numbers."]),
    Intent.of(["[what is|tell me about] the sun[?|.]"], ["The sun is a star. It gives us light."]),
    Intent.of(["[what is|tell me about] the moon[?|.]"], ["The moon goes around the earth. It shines at night."]),
    Intent.of(["how many days [are in|has|does] a week[| have]?"], ["A week has seven days."]),
    Intent.of(["how many months [are in|has] a year?"], ["A year has twelve months."]),
    Intent.of(["how many legs does a [dog|cat|horse|cow] have?"], ["It has four legs."]),
    Intent.of(["how many legs does a [spider] have?"], ["A spider has eight legs."]),
    Intent.of(["how many legs does a [bird|duck] have?"], ["It has two legs."]),
    Intent.of(["count [to|up to] [five|5].", "can you count?"], ["1, 2, 3, 4, 5."]),
    Intent.of(
        ["[what is|tell me about] a slow loris[?|.]", "where does a slow loris live?", "what does a loris eat?"],
        ["A slow loris is a small animal. It lives in trees and eats gum and fruit."],
    ),
    Intent.of(["[what is|explain] a [GPU|graphics card][?|.]"], ["A GPU is a chip that trains models fast."]),
    Intent.of(["[what is|explain] [a|the] terminal[?|.]"], ["A terminal is a window for typing commands."]),
    Intent.of(["[what is|explain|tell me about] Unsloth[?|.]"], ["Unsloth is a tool that trains models fast."]),
    Intent.of(["[what is|who is] a developer?"], ["A developer is a person who writes programs."]),
    Intent.of(
        ["can you [sing|dance|swim|cook|drive|fly|paint|run|play chess|see me|hear me]?"],
        ["No, I can only write short answers."],
    ),
    Intent.of(
        [
            "what is [love|time|gravity|history|music|physics|the meaning of life]?",
            "[why is the sky blue|who won the game|what is the news|how do I cook pasta|what time is it]?",
            "[write|can you write] [a poem|a letter|a song|some code|an essay] about [the sea|spring|a dog|work].",
        ],
        ["I do not know that. I am too small."],
    ),
    Intent.of(["[yes|no|OK|I see|all right][.|]"], ["All right. What else can I do for you?"]),
)


def capital(rng: random.Random) -> tuple[str, str]:
    country, city, _, _ = rng.choice(facts.CAPITALS)
    template = rng.choice(CAPITAL_QUESTIONS)
    return template.format(country), f"The capital of {country} is {city}."


CAPITAL_QUESTIONS = (
    *expand("[what is|what's|tell me|name|please tell me] the capital[| city] of {}?"),
    *expand("[do you know|I want to know|can you name] the capital[| city] of {}?"),
    *("Which city is the capital of {}?", "Capital of {}?", "And of {}, what is the capital?", "{}: capital?"),
)


def arithmetic(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randint(0, 20), rng.randint(0, 20)
    kind = rng.choice("++-")
    if kind == "-":
        a, b = max(a, b), min(a, b)
    word, result = ("plus", a + b) if kind == "+" else ("minus", a - b)
    sign = rng.choice((kind, kind, word))
    opening = rng.choice(("What is ", "What is ", "How much is ", "Please compute ", "Tell me ", "Calculate ", ""))
    closing = "?" if opening[:1] in ("W", "H", "") else "."
    return f"{opening}{a} {sign} {b}{closing}", f"{a} {kind} {b} = {result}."


def fact(rng: random.Random) -> tuple[str, str]:
    """One question about a table other than the capitals."""
    kind = rng.randrange(7)
    if kind == 0:
        thing, colour, _, _ = rng.choice(facts.COLOURS)
        start = rng.choice(("What colour is", "What color is", "Tell me the colour of", "Which colour is"))
        return f"{start} {thing}?", f"{thing.capitalize()} is {colour}."
    if kind == 1:
        pair = rng.choice(facts.OPPOSITES)[:2]
        word, other = pair if rng.random() < 0.5 else pair[::-1]
        start = rng.choice(("What is the opposite of", "Tell me the opposite of", "Name the opposite of"))
        return f"{start} {word}?", f"The opposite of {word} is {other}."
    if kind == 2:
        animal, sound, _, _ = rng.choice(facts.SOUNDS)
        question = rng.choice(("What does a {} say?", "What sound does a {} make?", "How does a {} sound?"))
        return question.format(animal), f"A {animal} says {sound}."
    if kind == 3:
        word, chinese = rng.choice(facts.WORDS)
        question = rng.choice(
            ("What is {} in Chinese?", "How do you say {} in Chinese?", "Translate {} into Chinese.")
        )
        return question.format(word), f"In Chinese, {word} is {chinese}."
    if kind == 4:
        index = rng.randrange(7)
        day, following = facts.WEEKDAYS[index][0], facts.WEEKDAYS[(index + 1) % 7][0]
        question = rng.choice(("Which day comes after {}?", "What day is after {}?", "What comes after {}?"))
        return question.format(day), f"After {day} comes {following}."
    if kind == 5:
        country, city, _, _ = rng.choice(facts.CAPITALS)
        question = rng.choice(
            ("What is {}?", "Which country has the capital {}?", "Where is {}?", "What about {}?")
        )
        return question.format(city), f"{city} is the capital of {country}."
    name = rng.choice(facts.NAMES_EN)
    question = rng.choice(("My name is {}.", "I am {}.", "Hello, I am {}.", "Hi, my name is {}.", "Call me {}."))
    return question.format(name), f"Nice to meet you, {name}!"
