"""The official openai client against the gateway, over real sockets."""

import openai
import pytest

QUESTION = [{"role": "user", "content": "When does the pump arrive?"}]


@pytest.fixture
async def client(house):
    async with openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key=house.key, max_retries=0) as found:
        yield found


async def test_the_client_lists_models_and_bases(client):
    names = [model.id async for model in client.models.list()]
    assert names == ["chat", "embed", "chat@work"]
    assert (await client.models.retrieve("chat@work")).id == "chat@work"


async def test_the_client_chats(client, house):
    answer = await client.chat.completions.create(model="chat", messages=QUESTION)
    assert answer.choices[0].message.content == house.first.text
    assert answer.usage.completion_tokens == 3


async def test_the_client_streams(client, house):
    stream = await client.chat.completions.create(model="chat", messages=QUESTION, stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text.strip() == house.first.text


async def test_the_client_embeds(client):
    answer = await client.embeddings.create(model="embed", input=["a", "b"], encoding_format="float")
    assert [item.embedding for item in answer.data] == [[0.0, 0.0, 1.0]] * 2


async def test_the_client_reads_citations(client):
    answer = await client.chat.completions.create(model="chat@work", messages=QUESTION)
    (annotation,) = answer.choices[0].message.annotations
    assert annotation.url_citation.title == "Re: pump"
    assert answer.model_extra["hearth"]["citations"][0]["quote"] == "The pump from Nordwerk arrives on 14 October."


async def test_the_client_reads_citations_of_a_stream(client, house):
    stream = await client.chat.completions.create(
        model="chat", messages=QUESTION, stream=True, extra_body={"knowledge_bases": ["work"]}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].model_extra["hearth"]["citations"][0]["document"] == "email-aaaaaaaaaaaaaaaaaaaa"
    assert chunks[-1].choices[0].delta.model_extra["annotations"]
    assert house.knowledge.headers[0]["Authorization"] == "Bearer gateway-account-token"


async def test_the_client_raises_its_own_errors(client, house):
    with pytest.raises(openai.NotFoundError, match="Models: chat, embed"):
        await client.chat.completions.create(model="nope", messages=QUESTION)
    with pytest.raises(openai.BadRequestError, match="dimensions must be 3"):
        await client.embeddings.create(model="embed", input="a", dimensions=7)
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="hearth_abcdefghij_wrong").models.list()
    house.first.break_after = house.second.break_after = 2
    stream = await client.chat.completions.create(model="chat", messages=QUESTION, stream=True)
    with pytest.raises(openai.APIError, match="middle of its answer"):
        async for _ in stream:
            pass
