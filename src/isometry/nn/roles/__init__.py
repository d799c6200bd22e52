"""What every parameter of a model is for, seen in one pass that is followed; recipes by role."""

from isometry.nn.roles.follow import Followed, followed
from isometry.nn.roles.parts import Part, Role
from isometry.nn.roles.recipes import Recipe, RoleLaw, recipe_of
from isometry.nn.roles.roles import parts_of

__all__ = ["Followed", "Part", "Recipe", "Role", "RoleLaw", "followed", "parts_of", "recipe_of"]
