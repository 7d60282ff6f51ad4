//! What operators change while requests go on: names that stand for others, providers and models that are switched off, models that are asked for
//! in place of others or within bounds; for everybody, or for the callers of one key or team.
//!
//! 1. `before-generate`, after `apikeys` and before `routing`: the name that was asked for is followed to its end, and members of the request
//!    are set and bounded. Where that names no provider, `routing` finds one, as if the caller had asked for it.
//! 2. `provider-events`, for each target right before it is asked: what is switched off is not, whatever chose it.
//! 3. The catalogue: lists of models have the aliases, and not what is off for who asks.
//!
//! What is said is in `rules.rs`, what of it holds for a caller in `view.rs`, where it is kept in `store.rs`, and how it is changed in `api.rs`.

mod api;
mod params;
mod rules;
mod store;
mod view;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;
use wasmgate_sdk::catalogue::{self, Asked, Offered};
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{Http, HttpRequest, codec, kv, log, providers};

use rules::{Document, Model};
use store::Known;
use view::{Stopped, View};

/// Path of the manifest, where the host asks for models.
const CATALOGUE: &str = "/dynamic/catalogue";

/// Where `apikeys` notes who the caller is.
const KEY: &str = "apikeys.name";
const TEAM: &str = "apikeys.team";

/// Says to other extensions that the caller used an alias, as `routing` does of its own.
const ALIAS: &str = "routing.alias";

/// The extension.
pub struct Dynamic {
    /// What the configuration says.
    configured: Document,
    /// Aliases of the configuration that `routing` follows.
    routing: BTreeMap<String, String>,
    /// What this instance knows of the store.
    known: RefCell<Option<Known>>,
}

impl Extension for Dynamic {
    type Config = Value;

    fn configure(mut config: Value) -> Result<Self, String> {
        let shared = config.as_object_mut().and_then(|c| c.shift_remove("routing_aliases")).unwrap_or_default();
        // What is wrong with them, `routing` says.
        let routing = shared.as_object().into_iter().flatten().filter_map(|(name, to)| Some((name.clone(), to.as_str()?.to_owned())));
        let (routing, configured) = (routing.collect(), Document::read(&config)?);
        view::check(&configured, &routing)?;
        Ok(Self { configured, routing, known: RefCell::default() })
    }

    fn routes(&self) -> Vec<Route> {
        api::routes()
    }

    fn before_generate(&self, call: &CallInfo, request: &Request) -> Decision {
        // What names no model is looked at when its provider is known.
        if call.model.is_empty() {
            return Decision::Continue;
        }
        match self.lead(call, request) {
            Ok(edits) if edits.is_empty() => Decision::Continue,
            Ok(edits) => Decision::Edit(edits),
            Err(error) => Decision::Reject(error),
        }
    }

    fn on_provider_selected(&self, call: &CallInfo, request: &Request, attempt: &AttemptInfo) -> Reaction {
        match self.look_at(call, request, attempt) {
            Ok(reaction) => reaction,
            Err(error) => Reaction::Fail(error),
        }
    }
}

impl Dynamic {
    /// The document that holds now; none when nothing is said in it.
    fn document(&self) -> Result<Option<Rc<Document>>, String> {
        let mut known = self.known.borrow_mut();
        let holds = match &*known {
            Some(known) => known.holds()?,
            None => false,
        };
        if !holds {
            *known = Some(Known::load(&self.configured)?);
        }
        Ok(known.as_ref().filter(|k| !k.is_empty).map(|k| Rc::clone(&k.document)))
    }

    /// The changes of a request before it is routed.
    fn lead(&self, call: &CallInfo, request: &Request) -> Result<Vec<Edit>, ChatError> {
        let Some(document) = self.document().map_err(unreadable)? else { return Ok(Vec::new()) };
        let view = View::new(&document, &tenants(&document, request), &self.routing);
        if let Some(provider) = &call.provider {
            // An earlier hook or the caller chose; where it goes is looked at when it is sent.
            let name = format!("{provider}/{}", call.model);
            let rules: Vec<&Model> = view.model(&name).into_iter().map(|(_, rule)| rule).collect();
            return Ok(changed(&rules, call, request)?.into_iter().collect());
        }
        let led = view.follow(&call.model).map_err(|stopped| refusal(&stopped))?;
        let mut edits = Vec::new();
        if led.changed {
            edits.push(view::target(&led.name).map_or_else(|| Edit::Model(led.name.clone()), Edit::Target));
        }
        if led.alias && call.model == call.requested_model {
            edits.push(Edit::Note(Note { key: ALIAS.into(), value: "true".into() }));
        }
        edits.extend(changed(&led.rules, call, request)?);
        Ok(edits)
    }

    /// What becomes of a target.
    fn look_at(&self, call: &CallInfo, request: &Request, attempt: &AttemptInfo) -> Result<Reaction, ChatError> {
        let Some(document) = self.document().map_err(unreadable)? else { return Ok(Reaction::Keep) };
        let view = View::new(&document, &tenants(&document, request), &self.routing);
        let target = &attempt.target;
        // Behind a virtual provider there may be others that are on. Nobody says which provider is the default one.
        let chosen = call.provider.as_deref().filter(|p| *p != target.provider);
        let open = call.provider.is_none() && providers::all().iter().any(|p| view::is_virtual(&p.kind));
        if let Some(outer) = chosen.filter(|p| view.provider(p).is_some_and(|s| !s.active)) {
            return Ok(outside(&view, outer, attempt));
        }
        let stopped = match arrived(&view, target) {
            Ok(None) => return Ok(Reaction::Keep),
            Ok(Some(other)) if other == (target.provider.as_str(), target.model.as_str()) => return Ok(Reaction::Keep),
            // A member that is off is passed over, not replaced: that is what the others are for.
            Ok(Some(other)) if !other.instead || chosen.is_none() => return Ok(Reaction::Other(other.target)),
            Ok(Some(_)) => return Ok(Reaction::Next),
            Err(stopped) => stopped,
        };
        if chosen.is_some() || open { Ok(Reaction::Next) } else { Err(refusal(&stopped)) }
    }

    /// The models of a list, as they are for one caller.
    fn offered(&self, asked: Asked) -> Result<Vec<Offered>, String> {
        let Some(document) = self.document()? else { return Ok(asked.models) };
        let text = |field: &str| asked.caller[field].as_str();
        let view = View::new(&document, &named(text("name"), text("team")), &self.routing);
        let is_on = |m: &&Offered| {
            let target = Target { provider: m.provider.clone(), model: m.model.clone() };
            !matches!(view.follow(&m.id), Err(Stopped::Model(_) | Stopped::Provider(_)))
                && (m.provider.is_empty() || !matches!(arrived(&view, &target), Err(Stopped::Model(_) | Stopped::Provider(_))))
        };
        let mut models: Vec<Offered> = asked.models.iter().filter(is_on).cloned().collect();
        for alias in view.aliases() {
            let Ok(led) = view.follow(alias) else { continue };
            // Where it leads is one of the others, or a provider is named, or `routing` finds one.
            let known = asked.models.iter().find(|m| m.id == led.name);
            let offered = match (known, view::target(&led.name)) {
                (Some(known), _) => Offered { id: alias.to_owned(), ..known.clone() },
                (None, Some(target)) => Offered { id: alias.to_owned(), provider: target.provider, model: target.model },
                // A provider's alias without a model of its own cannot be asked for alone.
                (None, None) if providers::find(&led.name).is_some() => continue,
                (None, None) => Offered { id: alias.to_owned(), provider: String::new(), model: led.name },
            };
            // An alias goes before a model of the same name.
            models.retain(|m| m.id != alias);
            let on = is_on(&&offered);
            models.extend(on.then_some(offered));
        }
        Ok(models)
    }
}

/// Another target.
struct Other {
    target: Target,
    /// Because the first one is off.
    instead: bool,
}

impl PartialEq<(&str, &str)> for Other {
    fn eq(&self, (provider, model): &(&str, &str)) -> bool {
        self.target.provider == *provider && self.target.model == *model
    }
}

/// Where a target leads: nowhere else, to another one, or to nothing because it is off.
fn arrived(view: &View<'_>, target: &Target) -> Result<Option<Other>, Stopped> {
    let whole = view::whole(target);
    let off = |switch: &rules::Switch| !switch.active;
    let (name, from, instead) = if let Some(switch) = view.provider(&target.provider).filter(|s| off(s)) {
        let instead = switch.instead.as_ref().ok_or_else(|| Stopped::Provider(target.provider.clone()))?;
        (view::elsewhere(instead, Some(&target.model)), None, true)
    } else if target.model.is_empty() {
        return Ok(None);
    } else {
        match view.model(&whole) {
            Some((_, rule)) if off(&rule.switch) => {
                let instead = rule.switch.instead.as_ref().ok_or_else(|| Stopped::Model(target.model.clone()))?;
                (view::filled(instead, &whole), None, true)
            }
            Some((pattern, Model { to: Some(to), .. })) => (view::filled(to, &whole), Some(pattern), false),
            _ => return Ok(None),
        }
    };
    let led = match from {
        Some(pattern) => view.follow_from(pattern, &name)?,
        None => view.follow(&name)?,
    };
    // A provider that lists the model, or else the same one.
    let listed = || providers::all().into_iter().find(|p| p.models.contains(&led.name)).map(|p| p.name);
    // What names no model has none elsewhere either.
    let bare = || providers::find(&led.name).map(|p| Target { provider: p.name, model: target.model.clone() });
    let found = view::target(&led.name)
        .or_else(bare)
        .unwrap_or_else(|| Target { provider: listed().unwrap_or_else(|| target.provider.clone()), model: led.name.clone() });
    let same = found.provider == target.provider && found.model == target.model;
    if instead && same {
        return Err(Stopped::Model(target.model.clone()));
    }
    Ok(Some(Other { target: found, instead }))
}

/// What becomes of a member of a virtual provider that is off itself. Nothing of it is asked; the request goes elsewhere once.
fn outside(view: &View<'_>, outer: &str, attempt: &AttemptInfo) -> Reaction {
    let instead = view.provider(outer).and_then(|switch| switch.instead.as_deref());
    let led = instead.and_then(|instead| view.follow(instead).ok());
    let Some(target) = led.and_then(|led| view::target(&led.name)) else {
        return Reaction::Fail(refusal(&Stopped::Provider(outer.to_owned())));
    };
    if (&attempt.target.provider, &attempt.target.model) == (&target.provider, &target.model) {
        Reaction::Keep
    } else if attempt.number == 0 && providers::find(&target.provider).is_some_and(|p| !view::is_virtual(&p.kind)) {
        Reaction::Other(target)
    } else if attempt.number == 0 {
        Reaction::Fail(refusal(&Stopped::Provider(outer.to_owned())))
    } else {
        Reaction::Next
    }
}

/// Whose rules hold for a request. Nothing is asked where no tenant has any.
fn tenants(document: &Document, request: &Request) -> Vec<String> {
    if document.tenants.is_empty() {
        return Vec::new();
    }
    let note = |key: &str| request.note::<String>(key);
    named(note(KEY).as_deref(), note(TEAM).as_deref())
}

fn named(key: Option<&str>, team: Option<&str>) -> Vec<String> {
    key.map(|k| format!("key:{k}")).into_iter().chain(team.map(|t| format!("team:{t}"))).collect()
}

/// The request with its members set and bounded, if that changes it.
fn changed(rules: &[&Model], call: &CallInfo, request: &Request) -> Result<Option<Edit>, ChatError> {
    let writes = || codec::Format::from_name(&call.format).is_some() || call.format.ends_with("-completions");
    if !rules.iter().any(|rule| rule.changes()) || !writes() {
        return Ok(None);
    }
    let said = request.params()?;
    let mut params = said.clone();
    rules.iter().for_each(|rule| rule.apply(&mut params));
    Ok((params != said).then_some(Edit::Params(params)))
}

/// What the caller is told of a name that leads nowhere.
fn refusal(stopped: &Stopped) -> ChatError {
    let (code, message) = match stopped {
        Stopped::Model(model) => {
            ("model_inactive", format!("The model `{model}` is switched off here. The list of models tells what there is."))
        }
        Stopped::Provider(provider) => {
            ("provider_inactive", format!("The provider `{provider}` is switched off here. The list of models tells what there is."))
        }
        Stopped::Circle(names) => {
            log::error(&format!("a name leads in a circle: {}", names.join(" → ")));
            let name = names.first().map_or("", String::as_str);
            ("model_not_found", format!("The name `{name}` leads to no model here. The list of models tells what there is."))
        }
    };
    ChatError { code: Some(code.into()), param: Some("model".into()), ..ChatError::new(ErrorClass::ModelNotFound, message) }
}

/// The store does not answer as it should: what is switched off cannot be known.
fn unreadable(reason: String) -> ChatError {
    if kv::is_unread(&reason) {
        return kv::not_yet("models_unread", "It is not known yet which models there are; try again in a moment.");
    }
    log::error(&reason);
    ChatError::new(ErrorClass::Internal, "The gateway cannot look up its models.")
}

impl Http for Dynamic {
    fn handle(&self, request: HttpRequest) -> Reply {
        if request.path != CATALOGUE {
            return api::answer(self, &request);
        }
        let Some(asked) = Asked::read(&request) else { return Reply::json(400, Vec::new()) };
        match self.offered(asked) {
            Ok(models) => catalogue::answer(&models),
            Err(reason) => Reply::json(unreadable(reason).http_status(), Vec::new()),
        }
    }
}

wasmgate_sdk::export!(Dynamic: before_generate, provider_events, http);

#[cfg(test)]
mod tests;
