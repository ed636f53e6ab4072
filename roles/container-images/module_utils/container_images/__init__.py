"""What the module container_image is made of: builder uses registry and context, errors uses none."""
