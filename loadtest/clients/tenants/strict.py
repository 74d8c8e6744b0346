"""Answers held against botocore's own models, more strictly than botocore reads them: a member that the model does not have,
a required one that is missing, a value of another type or outside its enumeration, or an error the operation does not know."""

import json
import re
import xml.etree.ElementTree as ElementTree
from datetime import datetime

# What every AWS service may answer, beside the errors of its model.
COMMON_ERRORS = {
    "AccessDenied", "AccessDeniedException", "ExpiredToken", "ExpiredTokenException", "IncompleteSignature",
    "IncompleteSignatureException", "InvalidAction", "InvalidClientTokenId", "InvalidSignatureException",
    "MissingAuthenticationToken", "MissingAuthenticationTokenException", "RequestEntityTooLarge",
    "RequestEntityTooLargeException", "ServiceFailure", "ServiceUnavailable", "SignatureDoesNotMatch", "Throttling",
    "TooManyRequestsException", "UnknownOperationException", "UnrecognizedClientException", "ValidationError",
}  # fmt: skip
NAMESPACES = {"iam": "https://iam.amazonaws.com/doc/2010-05-08/", "sts": "https://sts.amazonaws.com/doc/2011-06-15/"}


class Mismatch(Exception):
    """The answer is not what the model says; the text says where."""


def models(names=("kafka", "iam", "sts")):
    """The service models of the installed botocore."""
    from botocore.session import get_session

    session = get_session()
    return {name: session.get_service_model(name) for name in names}


def operation_of(model, method, path, body):
    """The operation that a request is: by its path (rest-json), or by its Action (query)."""
    if model.protocol == "query":
        action = re.search(r"(?:^|&)Action=([A-Za-z0-9]+)", body)
        name = action and action.group(1)
        return model.operation_model(name) if name in model.operation_names else None
    for name in model.operation_names:
        operation = model.operation_model(name)
        pattern = re.sub(r"\\\{[^}]+\\\}", "[^/]+", re.escape(operation.http["requestUri"].split("?")[0]))
        if operation.http["method"] == method and re.fullmatch(pattern, path.split("?")[0]):
            return operation
    return None


def check(operation, status, headers, body):
    """Raises `Mismatch` unless the answer is one that the operation's model describes."""
    if operation.service_model.protocol == "query":
        return _check_query(operation, status, body)
    return _check_rest_json(operation, status, headers, body)


def _check_rest_json(operation, status, headers, body):
    name = operation.name
    if status >= 300:
        code = headers.get("x-amzn-errortype", "")
        shapes = {shape.name: shape for shape in operation.error_shapes}
        if code not in shapes and code not in COMMON_ERRORS:
            raise Mismatch(f"{name}: error {code!r} is none of the model's")
        if code in shapes and shapes[code].metadata.get("error", {}).get("httpStatusCode", status) != status:
            raise Mismatch(f"{name}: error {code} with status {status}")
        # Every error of the service has these two, and no others.
        value = _json(name, body)
        for member in set(value) - {"message", "invalidParameter"}:
            raise Mismatch(f"{name}: error with an unknown member {member!r}")
        if not isinstance(value.get("message"), str) or not value["message"]:
            raise Mismatch(f"{name}: error without a message")
        return
    expected = operation.http.get("responseCode", 200)
    if status != expected:
        raise Mismatch(f"{name}: status {status}, not {expected}")
    if operation.output_shape is None:
        if body.strip():
            raise Mismatch(f"{name}: a body where the model has none")
        return
    _check_json(operation.output_shape, _json(name, body), name)


def _json(name, body):
    try:
        return json.loads(body)
    except ValueError as error:
        raise Mismatch(f"{name}: the body is not JSON: {error}") from None


def _check_json(shape, value, where):
    kind = shape.type_name
    if kind == "structure":
        _require(isinstance(value, dict), where, "an object", value)
        members = {member.serialization.get("name", name): (name, member) for name, member in shape.members.items()}
        for key, inner in value.items():
            if key not in members:
                raise Mismatch(f"{where}: unknown member {key!r}")
            _check_json(members[key][1], inner, f"{where}.{key}")
        for key, (name, _member) in members.items():
            if name in shape.required_members and key not in value:
                raise Mismatch(f"{where}: required member {key!r} is missing")
    elif kind == "list":
        _require(isinstance(value, list), where, "a list", value)
        for index, inner in enumerate(value):
            _check_json(shape.member, inner, f"{where}[{index}]")
    elif kind == "map":
        _require(isinstance(value, dict), where, "a map", value)
        for key, inner in value.items():
            _check_json(shape.value, inner, f"{where}[{key!r}]")
    elif kind == "string":
        _require(isinstance(value, str), where, "a text", value)
        _require_enum(shape, value, where)
    elif kind in ("integer", "long"):
        _require(isinstance(value, int) and not isinstance(value, bool), where, "a whole number", value)
    elif kind in ("float", "double"):
        _require(isinstance(value, (int, float)) and not isinstance(value, bool), where, "a number", value)
    elif kind == "boolean":
        _require(isinstance(value, bool), where, "true or false", value)
    elif kind == "timestamp":
        _require(shape.serialization.get("timestampFormat") == "iso8601", where, "a time this checker knows", value)
        _require(isinstance(value, str) and _is_iso8601(value), where, "an ISO 8601 time", value)
    else:
        raise Mismatch(f"{where}: a {kind}, which this checker does not know")


def _check_query(operation, status, body):
    name, service = operation.name, operation.service_model
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise Mismatch(f"{name}: the body is not XML: {error}") from None
    namespace = NAMESPACES[service.service_name]
    tags = _Tags(namespace)
    if status >= 300:
        return _check_query_error(operation, root, tags)
    _require(root.tag == tags(f"{name}Response"), name, f"<{name}Response>", root.tag)
    wanted = [tags("ResponseMetadata")]
    output = operation.output_shape
    if output is not None:
        wanted.insert(0, tags(output.serialization["resultWrapper"]))
    _require([child.tag for child in root] == wanted, name, f"the elements {wanted}", [child.tag for child in root])
    _require(root.findtext(f"{tags('ResponseMetadata')}/{tags('RequestId')}"), name, "a RequestId", None)
    if output is not None:
        _check_xml(output, root[0], tags, name)


def _check_query_error(operation, root, tags):
    name = operation.name
    _require(root.tag == tags("ErrorResponse"), name, "<ErrorResponse>", root.tag)
    _require([child.tag for child in root] == [tags("Error"), tags("RequestId")], name, "Error and RequestId", list(root))
    error = {child.tag: child.text for child in root[0]}
    _require(set(error) == {tags("Type"), tags("Code"), tags("Message")}, name, "Type, Code and Message", set(error))
    _require(error[tags("Type")] in ("Sender", "Receiver"), name, "Sender or Receiver", error[tags("Type")])
    known = {shape.metadata.get("error", {}).get("code", shape.name) for shape in operation.error_shapes}
    code = error[tags("Code")]
    if code not in known and code not in COMMON_ERRORS:
        raise Mismatch(f"{name}: error {code!r} is none of the model's")


class _Tags:
    def __init__(self, namespace):
        self.namespace = namespace

    def __call__(self, name):
        return f"{{{self.namespace}}}{name}"


def _check_xml(shape, element, tags, where):
    kind = shape.type_name
    if kind == "structure":
        members = {tags(member.serialization.get("name", name)): (name, member) for name, member in shape.members.items()}
        seen = set()
        for child in element:
            if child.tag not in members:
                raise Mismatch(f"{where}: unknown element {child.tag}")
            if child.tag in seen:
                raise Mismatch(f"{where}: {child.tag} stands there twice")
            seen.add(child.tag)
            _check_xml(members[child.tag][1], child, tags, f"{where}.{members[child.tag][0]}")
        for tag, (name, _member) in members.items():
            if name in shape.required_members and tag not in seen:
                raise Mismatch(f"{where}: required element {name} is missing")
    elif kind == "list":
        item = tags(shape.member.serialization.get("name", "member"))
        for index, child in enumerate(element):
            _require(child.tag == item, f"{where}[{index}]", item, child.tag)
            _check_xml(shape.member, child, tags, f"{where}[{index}]")
    else:
        _require(len(element) == 0, where, "a text", list(element))
        _check_xml_text(shape, element.text or "", where)


def _check_xml_text(shape, text, where):
    kind = shape.type_name
    if kind == "string":
        _require_enum(shape, text, where)
    elif kind in ("integer", "long"):
        _require(re.fullmatch(r"-?\d+", text), where, "a whole number", text)
    elif kind == "boolean":
        _require(text in ("true", "false"), where, "true or false", text)
    elif kind == "timestamp":
        _require(_is_iso8601(text), where, "an ISO 8601 time", text)
    else:
        raise Mismatch(f"{where}: a {kind}, which this checker does not know")


def _require_enum(shape, value, where):
    if shape.enum and value not in shape.enum:
        raise Mismatch(f"{where}: {value!r} is none of {shape.enum}")


def _require(condition, where, wanted, found):
    if not condition:
        raise Mismatch(f"{where}: {wanted} is expected, not {found!r}")


def _is_iso8601(text):
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).tzinfo is not None
    except ValueError:
        return False
