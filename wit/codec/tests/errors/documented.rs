//! Errors as providers document and send them.

use llm_codec::Format;
use llm_codec::Format::{AnthropicMessages as Anthropic, OpenaiChat as Chat, OpenaiResponses as Responses};
use llm_codec::hub::ErrorClass::{self, *};

/// An answer of an upstream, and what becomes of it.
pub struct Case {
    /// Who sends it.
    pub who: &'static str,
    /// The format that the upstream speaks.
    pub format: Format,
    pub status: u16,
    pub headers: &'static [(&'static str, &'static str)],
    pub body: &'static str,
    pub class: ErrorClass,
    pub retry_after_ms: Option<u64>,
    /// Status, type and code for a client of OpenAI's chat completions.
    pub openai: &'static str,
    /// Status and type for a client of Anthropic's messages.
    pub anthropic: &'static str,
}

const fn case(
    who: &'static str,
    format: Format,
    (status, body): (u16, &'static str),
    class: ErrorClass,
    openai: &'static str,
    anthropic: &'static str,
) -> Case {
    Case { who, format, status, headers: &[], body, class, retry_after_ms: None, openai, anthropic }
}

impl Case {
    const fn waits(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    const fn headers(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.headers = headers;
        self
    }
}

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    // --- the request
    case("OpenAI", Chat, (400, r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model.","type":"invalid_request_error","param":"max_tokens","code":"unsupported_parameter"}}"#),
        InvalidRequest, "400 invalid_request_error unsupported_parameter", "400 invalid_request_error"),
    case("Anthropic", Anthropic, (400, r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages: at least one message is required"}}"#),
        InvalidRequest, "400 invalid_request_error", "400 invalid_request_error"),
    case("vLLM", Chat, (422, r#"{"detail":[{"loc":["body","temperature"],"msg":"Input should be a valid number","type":"float_parsing"}]}"#),
        InvalidRequest, "422 invalid_request_error", "400 invalid_request_error"),
    case("Google", Chat, (400, r#"[{"error":{"code":400,"message":"Request contains an invalid argument.","status":"INVALID_ARGUMENT"}}]"#),
        InvalidRequest, "400 invalid_request_error INVALID_ARGUMENT", "400 invalid_request_error"),
    case("Groq", Chat, (400, r#"{"error":{"message":"Failed to call a function.","type":"invalid_request_error","code":"tool_use_failed","failed_generation":"x"}}"#),
        InvalidRequest, "400 invalid_request_error tool_use_failed", "400 invalid_request_error"),
    // --- the context
    case("OpenAI", Chat, (400, r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#),
        ContextTooLong, "400 invalid_request_error context_length_exceeded", "400 invalid_request_error"),
    case("OpenAI", Responses, (400, r#"{"error":{"message":"Your input exceeds the context window of this model.","type":"invalid_request_error","param":"input","code":"context_length_exceeded"}}"#),
        ContextTooLong, "400 invalid_request_error context_length_exceeded", "400 invalid_request_error"),
    case("Anthropic", Anthropic, (400, r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 208310 tokens > 200000 maximum"}}"#),
        ContextTooLong, "400 invalid_request_error context_length_exceeded", "400 invalid_request_error"),
    case("Anthropic", Anthropic, (400, r#"{"type":"error","error":{"type":"invalid_request_error","message":"input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000"}}"#),
        ContextTooLong, "400 invalid_request_error context_length_exceeded", "400 invalid_request_error"),
    case("Google", Chat, (400, r#"{"error":{"code":400,"message":"The input token count (1250074) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}"#),
        ContextTooLong, "400 invalid_request_error INVALID_ARGUMENT", "400 invalid_request_error"),
    case("xAI", Chat, (400, r#"{"code":"Client specified an invalid argument","error":"This model's maximum prompt length is 131072 but the request contains 140000 tokens."}"#),
        ContextTooLong, "400 invalid_request_error Client specified an invalid argument", "400 invalid_request_error"),
    case("llama.cpp", Chat, (400, r#"{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error"}}"#),
        ContextTooLong, "400 invalid_request_error exceed_context_size_error", "400 invalid_request_error"),
    // --- the content
    case("Azure", Chat, (400, r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400}}"#),
        ContentFiltered, "400 invalid_request_error content_filter", "400 invalid_request_error"),
    case("OpenAI", Responses, (400, r#"{"error":{"message":"Invalid prompt: your prompt was flagged as potentially violating our usage policy.","type":"invalid_request_error","param":null,"code":"invalid_prompt"}}"#),
        ContentFiltered, "400 invalid_request_error content_filter", "400 invalid_request_error"),
    case("Anthropic", Anthropic, (400, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}"#),
        ContentFiltered, "400 invalid_request_error content_filter", "400 invalid_request_error"),
    // --- the caller
    case("OpenAI", Chat, (401, r#"{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#),
        Authentication, "401 invalid_request_error invalid_api_key", "401 authentication_error"),
    case("Anthropic", Anthropic, (401, r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#),
        Authentication, "401 invalid_request_error invalid_api_key", "401 authentication_error"),
    case("Google", Chat, (400, r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#),
        Authentication, "400 invalid_request_error INVALID_ARGUMENT", "401 authentication_error"),
    case("Mistral", Chat, (401, r#"{"detail":"Unauthorized"}"#),
        Authentication, "401 invalid_request_error invalid_api_key", "401 authentication_error"),
    case("Anthropic", Anthropic, (403, r#"{"type":"error","error":{"type":"permission_error","message":"Your API key does not have permission to use the specified resource."}}"#),
        Permission, "403 permission_error permission_denied", "403 permission_error"),
    case("OpenAI", Chat, (403, r#"{"error":{"message":"Country, region, or territory not supported","type":"request_forbidden","param":null,"code":"unsupported_country_region_territory"}}"#),
        Permission, "403 permission_error unsupported_country_region_territory", "403 permission_error"),
    case("Google", Chat, (403, r#"{"error":{"code":403,"message":"Generative Language API has not been used in project 1 before or it is disabled.","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"SERVICE_DISABLED"}]}}"#),
        Permission, "403 permission_error PERMISSION_DENIED", "403 permission_error"),
    // --- the model and the path
    case("OpenAI", Chat, (404, r#"{"error":{"message":"The model `gpt-x` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#),
        ModelNotFound, "404 invalid_request_error model_not_found", "404 not_found_error"),
    case("OpenAI", Responses, (400, r#"{"error":{"message":"The requested model 'gpt-x' does not exist.","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#),
        ModelNotFound, "404 invalid_request_error model_not_found", "404 not_found_error"),
    case("Anthropic", Anthropic, (404, r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}"#),
        ModelNotFound, "404 invalid_request_error model_not_found", "404 not_found_error"),
    case("Google", Chat, (404, r#"{"error":{"code":404,"message":"models/gemini-x is not found for API version v1beta.","status":"NOT_FOUND"}}"#),
        ModelNotFound, "404 invalid_request_error NOT_FOUND", "404 not_found_error"),
    case("OpenRouter", Chat, (400, r#"{"error":{"message":"openai/x is not a valid model ID","code":400},"user_id":"u"}"#),
        ModelNotFound, "400 invalid_request_error model_not_found", "404 not_found_error"),
    case("any", Chat, (404, "404 page not found"),
        NotFound, "404 invalid_request_error not_found", "404 not_found_error"),
    case("Anthropic", Anthropic, (413, r#"{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#),
        TooLarge, "413 invalid_request_error request_too_large", "413 request_too_large"),
    // --- limits
    case("OpenAI", Chat, (429, r#"{"error":{"message":"Rate limit reached for gpt-x on requests per min (RPM): Limit 3, Used 3, Requested 1.","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#),
        RateLimited, "429 rate_limit_error rate_limit_exceeded", "429 rate_limit_error").headers(&[("retry-after", "20")]).waits(20_000),
    case("OpenAI", Chat, (429, r#"{"error":{"message":"Rate limit reached for gpt-x on tokens per min (TPM). Please try again in 1.5s.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#),
        RateLimited, "429 rate_limit_error rate_limit_exceeded", "429 rate_limit_error").waits(1500),
    case("OpenAI", Chat, (429, r#"{"error":{"message":"Rate limit reached.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#),
        RateLimited, "429 rate_limit_error rate_limit_exceeded", "429 rate_limit_error")
        .headers(&[("x-ratelimit-remaining-requests", "12"), ("x-ratelimit-reset-requests", "120ms"), ("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "6m0s")]).waits(360_000),
    case("Azure", Chat, (429, r#"{"error":{"code":"RateLimitReached","message":"Your requests have exceeded rate limit."}}"#),
        RateLimited, "429 rate_limit_error RateLimitReached", "429 rate_limit_error").headers(&[("retry-after-ms", "1250"), ("retry-after", "2")]).waits(1250),
    case("Anthropic", Anthropic, (429, r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit."}}"#),
        RateLimited, "429 rate_limit_error rate_limit_exceeded", "429 rate_limit_error")
        .headers(&[("anthropic-ratelimit-input-tokens-remaining", "0"), ("anthropic-ratelimit-input-tokens-reset", "2025-01-31T12:00:42Z"), ("anthropic-ratelimit-requests-remaining", "49"), ("anthropic-ratelimit-requests-reset", "2025-01-31T12:00:01Z")]).waits(42_000),
    case("Anthropic", Anthropic, (429, r#"{"type":"error","error":{"type":"rate_limit_error","message":"Number of request tokens has exceeded your rate limit"}}"#),
        RateLimited, "429 rate_limit_error rate_limit_exceeded", "429 rate_limit_error").headers(&[("retry-after", "Fri, 31 Jan 2025 12:01:00 GMT")]).waits(60_000),
    case("Google", Chat, (429, r#"{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.074824224s"}]}}"#),
        RateLimited, "429 rate_limit_error RESOURCE_EXHAUSTED", "429 rate_limit_error").waits(34_075),
    case("OpenRouter", Chat, (429, r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"provider_name":"x"}}}"#),
        RateLimited, "429 rate_limit_error rate_limit_exceeded", "429 rate_limit_error").headers(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1738324830000")]).waits(30_000),
    // --- money
    case("OpenAI", Chat, (429, r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#),
        QuotaExceeded, "429 insufficient_quota insufficient_quota", "402 billing_error"),
    case("Anthropic", Anthropic, (400, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#),
        QuotaExceeded, "429 insufficient_quota insufficient_quota", "400 billing_error"),
    case("Anthropic", Anthropic, (402, r#"{"type":"error","error":{"type":"billing_error","message":"There is an issue with your billing."}}"#),
        QuotaExceeded, "429 insufficient_quota insufficient_quota", "402 billing_error"),
    case("DeepSeek", Chat, (402, r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#),
        QuotaExceeded, "402 insufficient_quota invalid_request_error", "402 billing_error"),
    case("OpenRouter", Chat, (402, r#"{"error":{"message":"This request requires more credits, or fewer max_tokens.","code":402}}"#),
        QuotaExceeded, "402 insufficient_quota insufficient_quota", "402 billing_error"),
    // --- the upstream itself
    case("OpenAI", Chat, (503, r#"{"error":{"message":"The engine is currently overloaded, please try again later","type":"server_error","param":null,"code":null}}"#),
        Overloaded, "503 server_error server_error", "529 overloaded_error"),
    case("OpenAI", Responses, (503, r#"{"error":{"message":"Slow down","type":"server_error","param":null,"code":"slow_down"}}"#),
        Overloaded, "503 server_error overloaded", "529 overloaded_error"),
    case("Anthropic", Anthropic, (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}"#),
        Overloaded, "503 server_error overloaded", "529 overloaded_error"),
    case("Google", Chat, (503, r#"{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}"#),
        Overloaded, "503 server_error UNAVAILABLE", "529 overloaded_error"),
    case("Groq", Chat, (498, r#"{"error":{"message":"Flex tier capacity exceeded","type":"capacity_exceeded"}}"#),
        Overloaded, "498 server_error capacity_exceeded", "529 overloaded_error"),
    case("Anthropic", Anthropic, (504, r#"{"type":"error","error":{"type":"timeout_error","message":"Request timed out."}}"#),
        Timeout, "504 server_error timeout", "504 timeout_error"),
    case("Google", Chat, (504, r#"{"error":{"code":504,"message":"Deadline expired before operation could complete.","status":"DEADLINE_EXCEEDED"}}"#),
        Timeout, "504 server_error DEADLINE_EXCEEDED", "504 timeout_error"),
    case("Cloudflare", Chat, (524, "<!DOCTYPE html><title>A timeout occurred</title>"),
        Timeout, "524 server_error timeout", "504 timeout_error"),
    case("Google", Chat, (499, r#"{"error":{"code":499,"message":"The operation was cancelled.","status":"CANCELLED"}}"#),
        Cancelled, "499 server_error CANCELLED", "499 api_error"),
    case("OpenAI", Chat, (500, r#"{"error":{"message":"The server had an error while processing your request.","type":"server_error","param":null,"code":null}}"#),
        Upstream, "500 server_error server_error", "502 api_error"),
    case("Anthropic", Anthropic, (500, r#"{"type":"error","error":{"type":"api_error","message":"Internal server error"}}"#),
        Upstream, "502 server_error", "500 api_error"),
    case("a proxy", Anthropic, (502, "<html><h1>502 Bad Gateway</h1></html>"),
        Upstream, "502 server_error", "502 api_error"),
];
