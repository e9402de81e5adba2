//! Tests over the whole house: configurations, crashes, architecture, interoperability.
