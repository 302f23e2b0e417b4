//! The kinds of record that can be written, and what of their fields is so in every account, as tables: the
//! fields that Pipedrive itself made, how the values of each type of field are told, and by which of them
//! records can be searched. In comes the name of a kind, out goes its row. Fields that only Pipedrive sets
//! must not be here.
//! Types: <https://pipedrive.readme.io/docs/core-api-concepts-custom-fields>

use crate::crm::Fault;

/// A kind of record.
pub(super) struct Entity {
    /// Its name, which is its path.
    pub name: &'static str,
    /// What people call it.
    pub label: &'static str,
    /// Its name in searches.
    pub search_type: &'static str,
    /// Where its fields are listed.
    pub fields_path: &'static str,
    /// The fields that every account has.
    pub standard: &'static [Standard],
}

/// A field that every account has.
pub(super) struct Standard {
    /// Its name in records.
    pub code: &'static str,
    /// What the list of fields calls it, where that is another name.
    pub listed: &'static str,
    /// What people call it, unless the list tells.
    pub label: &'static str,
    /// How its value is told.
    pub form: Form,
    /// How records are found by it.
    pub search: Search,
    /// Whether a new record must have it.
    pub required: bool,
}

/// How a field's value is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A text.
    Text,
    /// A text of at most 255 characters.
    ShortText,
    /// A number.
    Number,
    /// The id of something.
    Reference,
    /// An amount with its currency.
    Money,
    /// The id of an option.
    Choice,
    /// Ids of options.
    Set,
    /// A day.
    Date,
    /// A time of day or an address: an object with the text in it.
    Wrapped,
    /// Email addresses or telephone numbers, each with a label; written to new records alone, since the
    /// list would replace a person's others.
    Contacts,
    /// What this connector does not write.
    Other,
}

/// How records are found by a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// By the search of one field, which minds upper and lower case.
    ByField,
    /// By the entity's own search within these fields, which does not mind.
    Within(&'static str),
    /// Not at all.
    Never,
}

/// All kinds of record.
pub(super) const ENTITIES: &[Entity] = &[
    Entity {
        name: "deals",
        label: "Deals",
        search_type: "deal",
        fields_path: "dealFields",
        standard: &[
            Standard::new("title", "Title", Form::Text).within("title").required(),
            Standard::new("status", "Status", Form::Text),
            Standard::new("value", "Value", Form::Number),
            Standard::new("currency", "Currency", Form::Text),
            Standard::new("stage_id", "Stage", Form::Reference),
            Standard::new("pipeline_id", "Pipeline", Form::Reference),
            Standard::new("owner_id", "Owner", Form::Reference),
            Standard::new("person_id", "Person", Form::Reference),
            Standard::new("org_id", "Organization", Form::Reference),
            Standard::new("expected_close_date", "Expected close date", Form::Date),
            Standard::new("probability", "Probability", Form::Number),
            Standard::new("lost_reason", "Lost reason", Form::Text),
        ],
    },
    Entity {
        name: "organizations",
        label: "Organizations",
        search_type: "organization",
        fields_path: "organizationFields",
        standard: &[
            Standard::new("name", "Name", Form::Text).within("name").required(),
            Standard::new("owner_id", "Owner", Form::Reference),
        ],
    },
    Entity {
        name: "persons",
        label: "Persons",
        search_type: "person",
        fields_path: "personFields",
        standard: &[
            Standard::new("name", "Name", Form::Text).within("name").required(),
            Standard::new("emails", "Email", Form::Contacts).within("email").listed("email"),
            Standard::new("phones", "Phone", Form::Contacts).within("phone").listed("phone"),
            Standard::new("org_id", "Organization", Form::Reference),
            Standard::new("owner_id", "Owner", Form::Reference),
        ],
    },
];

/// How the values of the account's own fields are told, by the type of the field.
pub(super) const TYPES: &[(&str, Form, Search)] = &[
    ("address", Form::Wrapped, Search::ByField),
    ("date", Form::Date, Search::Never),
    ("double", Form::Number, Search::ByField),
    ("enum", Form::Choice, Search::Never),
    ("monetary", Form::Money, Search::ByField),
    ("org", Form::Reference, Search::Never),
    ("people", Form::Reference, Search::Never),
    ("phone", Form::ShortText, Search::ByField),
    ("set", Form::Set, Search::Never),
    ("text", Form::Text, Search::ByField),
    ("time", Form::Wrapped, Search::Never),
    ("user", Form::Reference, Search::Never),
    ("varchar", Form::ShortText, Search::ByField),
    ("varchar_auto", Form::ShortText, Search::ByField),
];

/// The kind of record of this name.
pub(super) fn entity(name: &str) -> Result<&'static Entity, Fault> {
    ENTITIES.iter().find(|entity| entity.name == name).ok_or_else(|| {
        let names: Vec<&str> = ENTITIES.iter().map(|entity| entity.name).collect();
        let reason = format!("`{name}` is none of the objects {}", names.join(", "));
        Fault::permanent("unknown_object", reason)
    })
}

impl Entity {
    /// The path of a record, or of all if there is no id.
    pub fn path(&self, id: Option<&str>) -> String {
        match id {
            Some(id) => format!("/api/v2/{}/{id}", self.name),
            None => format!("/api/v2/{}", self.name),
        }
    }
}

impl Standard {
    const fn new(code: &'static str, label: &'static str, form: Form) -> Standard {
        Standard { code, listed: code, label, form, search: Search::Never, required: false }
    }

    const fn within(mut self, fields: &'static str) -> Standard {
        self.search = Search::Within(fields);
        self
    }

    const fn listed(mut self, name: &'static str) -> Standard {
        self.listed = name;
        self
    }

    const fn required(mut self) -> Standard {
        self.required = true;
        self
    }
}
