"""How questions and answers are written as text: prompt formats, chat templates and mask markers."""
