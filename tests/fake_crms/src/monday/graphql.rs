//! GraphQL as far as the double serves it: a query is parsed, checked against the schema and its variables
//! are put in. In come a query's text and its variables, out goes a plan of fields with plain arguments,
//! or all that is wrong with it; of a query with a mistake nothing is ever carried out.

mod variables;

use std::collections::{HashMap, HashSet};

use graphql_parser::{
    Pos,
    query::{Definition, Document, Field, OperationDefinition, Selection, SelectionSet, Type},
    schema,
};
use serde_json::{Map, Value, json};

use variables::Variables;

/// What the double serves, in the vendor's words.
const SDL: &str = r#"
scalar JSON
type Query {
  boards(ids: [ID!], limit: Int = 25, page: Int = 1): [Board]
  items(ids: [ID!], limit: Int = 25, page: Int = 1, exclude_nonactive: Boolean): [Item]
  items_page_by_column_values(board_id: ID!, columns: [ItemsPageByColumnValuesQuery!], cursor: String, limit: Int! = 25): ItemsResponse!
  me: User
  complexity: Complexity
}
type Mutation {
  change_multiple_column_values(board_id: ID!, item_id: ID, column_values: JSON!, create_labels_if_missing: Boolean): Item
  create_item(board_id: ID!, item_name: String!, group_id: String, column_values: JSON, create_labels_if_missing: Boolean): Item
  complexity: Complexity
}
type Board { id: ID! name: String! state: String! columns(ids: [String]): [Column] groups: [Group] }
type Column { id: ID! title: String! type: String! archived: Boolean! settings: JSON }
type Group { id: ID! title: String! }
type Item { id: ID! name: String! state: String board: Board group: Group column_values(ids: [String!]): [ColumnValue!]! }
type ColumnValue { id: ID! type: String! text: String value: JSON }
type ItemsResponse { cursor: String items: [Item!]! }
type Complexity { query: Int! before: Int! after: Int! reset_in_x_seconds: Int! }
type User { id: ID! name: String! email: String! account: Account! }
type Account { id: ID! name: String! slug: String! }
input ItemsPageByColumnValuesQuery { column_id: String! column_values: [String]! }
"#;
const MAX_DEPTH: usize = 10;

pub(super) type Kind = Type<'static, String>;

/// The schema, ready to check queries.
pub(super) struct Schema {
    objects: HashMap<String, Vec<Known>>,
    inputs: HashMap<String, Vec<Argument>>,
}

struct Known {
    name: String,
    arguments: Vec<Argument>,
    kind: Kind,
}

pub(super) struct Argument {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) default: Option<Value>,
}

/// What is to be carried out.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) is_mutation: bool,
    pub(super) fields: Vec<Node>,
}

/// A field to answer.
#[derive(Debug)]
pub(super) struct Node {
    /// What the answer is called.
    pub(super) alias: String,
    pub(super) name: String,
    pub(super) arguments: Map<String, Value>,
    pub(super) children: Vec<Node>,
    /// Whether its failure leaves the others standing.
    pub(super) is_nullable: bool,
    pub(super) at: (usize, usize),
}

/// What is wrong with a query.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) code: &'static str,
    pub(super) words: String,
    pub(super) at: (usize, usize),
}

impl Mistake {
    pub(super) fn new(code: &'static str, words: impl Into<String>, at: Pos) -> Mistake {
        Mistake { code, words: words.into(), at: (at.line, at.column) }
    }

    /// As one of `errors`.
    pub(super) fn json(&self) -> Value {
        let (line, column) = self.at;
        json!({
            "message": self.words, "locations": [{ "line": line, "column": column }],
            "extensions": { "code": self.code }
        })
    }
}

impl Schema {
    pub(super) fn new() -> Schema {
        let document = schema::parse_schema::<String>(SDL).expect("the schema is constant");
        let mut schema = Schema { objects: HashMap::new(), inputs: HashMap::new() };
        for definition in document.definitions {
            let schema::Definition::TypeDefinition(definition) = definition else { continue };
            match definition {
                schema::TypeDefinition::Object(object) => {
                    let fields = object.fields.into_iter().map(|field| Known {
                        name: field.name,
                        arguments: field.arguments.into_iter().map(argument).collect(),
                        kind: field.field_type,
                    });
                    schema.objects.insert(object.name, fields.collect());
                }
                schema::TypeDefinition::InputObject(input) => {
                    let fields = input.fields.into_iter().map(argument).collect();
                    schema.inputs.insert(input.name, fields);
                }
                schema::TypeDefinition::Scalar(_)
                | schema::TypeDefinition::Interface(_)
                | schema::TypeDefinition::Union(_)
                | schema::TypeDefinition::Enum(_) => {}
            }
        }
        schema
    }

    /// The fields of an input type.
    pub(super) fn input(&self, name: &str) -> Option<&[Argument]> {
        self.inputs.get(name).map(Vec::as_slice)
    }

    /// What a query asks for, with its variables put in.
    pub(super) fn plan(
        &self,
        text: &str,
        variables: &Map<String, Value>,
    ) -> Result<Plan, Vec<Mistake>> {
        let document = graphql_parser::parse_query::<String>(text)
            .map_err(|error| vec![Mistake::new("parseError", error.to_string(), Pos::default())])?;
        let nowhere = Pos::default();
        let mut operations = document.definitions.iter().filter_map(|one| match one {
            Definition::Operation(operation) => Some(operation),
            Definition::Fragment(_) => None,
        });
        let (Some(operation), None) = (operations.next(), operations.next()) else {
            return Err(vec![Mistake::new("operations", "there must be one operation", nowhere)]);
        };
        let (root, declared, selected) = match operation {
            OperationDefinition::SelectionSet(set) => ("Query", &[][..], set),
            OperationDefinition::Query(query) => {
                ("Query", &query.variable_definitions[..], &query.selection_set)
            }
            OperationDefinition::Mutation(mutation) => {
                ("Mutation", &mutation.variable_definitions[..], &mutation.selection_set)
            }
            OperationDefinition::Subscription(subscription) => {
                let words = "subscriptions are not served";
                return Err(vec![Mistake::new("operations", words, subscription.position)]);
            }
        };
        let variables = Variables::read(self, declared, variables)?;
        let mut check =
            Check { schema: self, document: &document, variables, mistakes: Vec::new() };
        let fields = check.selected(selected, root, 0);
        let Check { variables, mut mistakes, .. } = check;
        mistakes.extend(variables.unused());
        if mistakes.is_empty() {
            Ok(Plan { is_mutation: root == "Mutation", fields })
        } else {
            Err(mistakes)
        }
    }
}

struct Check<'a> {
    schema: &'a Schema,
    document: &'a Document<'a, String>,
    variables: Variables<'a>,
    mistakes: Vec<Mistake>,
}

impl<'a> Check<'a> {
    fn selected(&mut self, set: &SelectionSet<'a, String>, kind: &str, depth: usize) -> Vec<Node> {
        let mut nodes = Vec::new();
        if depth > MAX_DEPTH {
            self.mistakes.push(Mistake::new("depth", "the query is too deep", set.span.0));
            return nodes;
        }
        for selection in &set.items {
            match selection {
                Selection::Field(field) => nodes.extend(self.field(field, kind, depth)),
                Selection::InlineFragment(inline) => {
                    nodes.extend(self.selected(&inline.selection_set, kind, depth + 1));
                }
                Selection::FragmentSpread(spread) => {
                    let document = self.document;
                    let fragment = document.definitions.iter().find_map(|one| match one {
                        Definition::Fragment(fragment) => {
                            (fragment.name == spread.fragment_name).then_some(fragment)
                        }
                        Definition::Operation(_) => None,
                    });
                    match fragment {
                        Some(fragment) => {
                            nodes.extend(self.selected(&fragment.selection_set, kind, depth + 1));
                        }
                        None => {
                            let words = format!("no fragment `{}`", spread.fragment_name);
                            let mistake = Mistake::new("undefinedFragment", words, spread.position);
                            self.mistakes.push(mistake);
                        }
                    }
                }
            }
        }
        let mut aliases = HashSet::new();
        if let Some(twice) = nodes.iter().find(|node| !aliases.insert(node.alias.as_str())) {
            let words = format!("`{}` is asked for twice", twice.alias);
            self.mistakes.push(Mistake::new("fieldConflict", words, set.span.0));
        }
        nodes
    }

    fn field(&mut self, field: &Field<'a, String>, kind: &str, depth: usize) -> Option<Node> {
        let schema = self.schema;
        let known = schema
            .objects
            .get(kind)
            .and_then(|fields| fields.iter().find(|known| known.name == field.name));
        let Some(known) = known else {
            let words = format!("Field '{}' doesn't exist on type '{kind}'", field.name);
            self.mistakes.push(Mistake::new("undefinedField", words, field.position));
            return None;
        };
        let arguments = self.arguments(field, known);
        let inner = named(&known.kind);
        let is_object = schema.objects.contains_key(inner);
        if is_object == field.selection_set.items.is_empty() {
            let words = format!("'{}' of type '{inner}': wrong selection", field.name);
            self.mistakes.push(Mistake::new("selectionMismatch", words, field.position));
        }
        let children = match is_object {
            true => self.selected(&field.selection_set, inner, depth + 1),
            false => Vec::new(),
        };
        Some(Node {
            alias: field.alias.clone().unwrap_or_else(|| field.name.clone()),
            name: field.name.clone(),
            arguments,
            children,
            is_nullable: !matches!(known.kind, Type::NonNullType(_)),
            at: (field.position.line, field.position.column),
        })
    }

    fn arguments(&mut self, field: &Field<'a, String>, known: &Known) -> Map<String, Value> {
        let mut arguments = Map::new();
        for (name, value) in &field.arguments {
            let Some(argument) = known.arguments.iter().find(|known| known.name == *name) else {
                let words = format!("'{}' has no argument '{name}'", field.name);
                self.mistakes.push(Mistake::new("argumentNotAccepted", words, field.position));
                continue;
            };
            match self.variables.put_in(self.schema, value, argument) {
                // A variable that has no value is as if the argument were not there.
                Ok(None) => {}
                Ok(Some(value)) => {
                    arguments.insert(name.clone(), value);
                }
                Err((code, words)) => {
                    let words = format!("argument '{name}' of '{}': {words}", field.name);
                    self.mistakes.push(Mistake::new(code, words, field.position));
                }
            }
        }
        for argument in &known.arguments {
            let is_there = field.arguments.iter().any(|(name, _)| *name == argument.name);
            match (&argument.default, is_there) {
                (Some(default), _) if !arguments.contains_key(&argument.name) => {
                    arguments.insert(argument.name.clone(), default.clone());
                }
                (None, false) if matches!(argument.kind, Type::NonNullType(_)) => {
                    let words = format!("'{}' needs the argument '{}'", field.name, argument.name);
                    let code = "missingRequiredArguments";
                    self.mistakes.push(Mistake::new(code, words, field.position));
                }
                (Some(_) | None, _) => {}
            }
        }
        arguments
    }
}

fn argument(input: schema::InputValue<'static, String>) -> Argument {
    let default = input.default_value.as_ref().map(variables::plain);
    Argument { name: input.name, kind: input.value_type, default }
}

/// The type within lists and exclamation marks.
pub(super) fn named<'k>(kind: &'k Type<'_, String>) -> &'k str {
    match kind {
        Type::NamedType(name) => name,
        Type::ListType(inner) | Type::NonNullType(inner) => named(inner),
    }
}
