"""Every operation of the `kafka` service's model, called with the least that botocore lets through: whatever has no meaning for
a serverless cluster is answered with an error of the service, and nothing is unknown."""

from botocore.exceptions import ClientError

# An operation that is answered with anything else is offered or refused on purpose.
UNKNOWN = "UnknownOperationException"


def least(shape, arn, name=""):
    """The smallest value that the model's constraints allow."""
    kind = shape.type_name
    if kind == "structure":
        return {member: least(shape.members[member], arn, member) for member in shape.required_members}
    if kind == "list":
        return [least(shape.member, arn, name) for _ in range(max(1, shape.metadata.get("min", 0)))]
    if kind == "map":
        return {}
    if kind in ("integer", "long"):
        return max(1, shape.metadata.get("min", 1))
    if kind in ("float", "double"):
        return 1.0
    if kind == "boolean":
        return True
    if kind == "blob":
        return b"x"
    if shape.enum:
        return shape.enum[0]
    if "arn" in name.lower():
        return arn
    return "x" * max(1, shape.metadata.get("min", 1))


def call_all(client, model, arn, skipped):
    """Returns the code of each operation's answer, None where it succeeded."""
    from botocore import xform_name

    codes = {}
    for name in sorted(set(model.operation_names) - set(skipped)):
        operation = model.operation_model(name)
        parameters = least(operation.input_shape, arn) if operation.input_shape else {}
        try:
            getattr(client, xform_name(name))(**parameters)
            codes[name] = None
        except ClientError as error:
            codes[name] = error.response["Error"]["Code"]
    return codes
