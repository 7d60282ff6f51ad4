//! Members that the hub does not model keep their names.

#[test]
fn members_with_dots_in_their_names_stay_where_they_are() {
    // Inside, members of nested objects are kept under `function.name`: that must not be taken for a name that has a dot.
    let request = serde_json::json!({
        "model": "m",
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b.png", "x": 1}, "image_url.x": 2, ".y": 3}]},
            {"role": "assistant", "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}", "n": 1}, "function.n": 2, ".n": 3},
            ]},
            {"role": "tool", "tool_call_id": "1", "content": "x"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "n": 1}, "function.n": 2, "..n": 3}],
    });
    let format = llm_codec::Format::OpenaiChat;
    let decoded = format.decode_request(request.to_string().as_bytes()).expect("a request");
    let encoded = format.encode_request(&decoded, &llm_codec::EncodeOptions::default());
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&encoded.body).expect("JSON"), request);

    let answer = serde_json::json!({
        "id": "a", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x", "n": 1}, "message.n": 2, ".n": 3, "finish_reason": "stop"}],
    });
    let decoded = format.decode_answer(answer.to_string().as_bytes()).expect("an answer");
    let options = llm_codec::StreamOptions { include_usage: false, id: String::new(), model: String::new(), created: 0 };
    let encoded = format.encode_answer(&decoded, &options);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&encoded.body).expect("JSON"), answer);
}
