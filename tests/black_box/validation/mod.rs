//! Code in answers (extension `validation`): it is found, checked, repaired and asked for again.

mod agree;
mod answers;
mod api;
mod damage;
mod figures;
mod imports;
mod sources;
mod time;
