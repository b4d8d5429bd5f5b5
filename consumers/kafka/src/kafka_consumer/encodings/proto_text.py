"""A file descriptor as the text of a ``.proto`` file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto


def proto_text(file: FileDescriptorProto, comments: Mapping[str, str]) -> str:
    """The text that the compiler makes ``file`` of; ``comments`` stand before the fields of its first message."""
    lines = [f'syntax = "{file.syntax}";', "", f"package {file.package};", ""]
    lines += [f'import "{name}";' for name in file.dependency]
    for message in file.message_type:
        lines += ["", *_message(message, comments)]
    return "\n".join(lines) + "\n"


def _message(message: DescriptorProto, comments: Mapping[str, str]) -> Iterator[str]:
    yield f"message {message.name} {{"
    for nested in message.nested_type:
        yield from (f"  {line}" for line in _message(nested, {}))
    for field in message.field:
        if comment := comments.get(field.name):
            yield from (f"  // {line}" for line in comment.splitlines())
        yield f"  {_label(field)}{_type(field)} {field.name} = {field.number};"
    yield "}"


def _label(field: FieldDescriptorProto) -> str:
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return "repeated "
    return "optional " if field.proto3_optional else ""


def _type(field: FieldDescriptorProto) -> str:
    if field.type_name:
        return str(field.type_name).removeprefix(".")
    return str(FieldDescriptorProto.Type.Name(field.type)).removeprefix("TYPE_").lower()
